"""Which entry of the ledger is which command of an initiator.

A session's commands reach the target in the order in which they were sent, and every one that does is in the ledger
when it has ended; so the entries of a session, in the order of their arrival, are the first of those that were sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hil.scsi.ledger import Entry
from hil.scsi.sense import Status
from tests.scsi_campaign.commands import READS, Sent

if TYPE_CHECKING:
    from tests.scsi_campaign.load import Node


def match(node: Node, entries: Sequence[Entry]) -> list[Sent]:
    """Gives every command of ``node`` its ``order``; those that the ledger does not have are returned.

    ``entries`` are those of its nexus. Checks that every answer is in the ledger as the initiator got it.
    """
    arrived = sorted(entries, key=lambda entry: entry.arrival_ns)
    missing: list[Sent] = []
    start = 0
    for index, log in enumerate(node.log):
        end = len(arrived)
        if index + 1 < len(node.logins):
            # The new session began before its login was answered; from then on nothing of the old one was executed.
            end = next((at for at in range(start, end) if arrived[at].arrival_ns >= node.logins[index + 1]), end)
        missing += match_session(log, arrived[start:end])
        start = end
    assert start == len(arrived), f"initiator {node.number} never sent {arrived[start:]}"
    return missing


def match_session(log: Sequence[Sent], entries: Sequence[Entry]) -> list[Sent]:
    """As ``match``, of one session; ``entries`` in the order of their arrival."""
    assert len(entries) <= len(log), f"nobody sent {entries[len(log)]}"
    for sent, entry in zip(log, entries, strict=False):
        _check(sent, entry)
        sent.order = entry.order
    rest = list(log[len(entries) :])
    answered = [sent for sent in rest if sent.status is not None]
    assert not answered, f"answered, and not in the ledger: {answered[:3]}"
    return rest


def _check(sent: Sent, entry: Entry) -> None:
    what = f"{entry} is not {sent}"
    assert (entry.opcode, entry.service_action) == (sent.cdb[0], sent.cdb[1]), what
    assert entry.arrival_ns >= sent.sent_ns, what
    if entry.status == Status.GOOD and sent.blocks:
        assert (entry.lba, entry.blocks) == (sent.lba, sent.blocks), what
    if sent.status is None:
        return
    assert entry.status == sent.status, what
    assert entry.completion_ns <= sent.answered_ns, what
    if sent.sense is not None:
        assert entry.sense == sent.sense, what
    if sent.opcode in READS and entry.status == Status.GOOD:
        assert entry.digest == sent.digest, what
