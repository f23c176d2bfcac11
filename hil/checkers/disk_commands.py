"""What the membership of a node asks of the disk: two commands in every period, a few more for an election (S1, S3).

What the levels above it do on the virtual disks is not counted. From the SCSI target's ledger alone. A round is what a
node does every disk period: its heartbeat is written, all regions are read, one command each, however many nodes there
are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from guestd.fence import persistent_reserve as pr
from guestd.membership import layout
from guestd.tasks.engine import SYNCHRONIZE_CACHE
from hil.errors import ClaimFailed
from hil.scsi.ledger_records import Entry

_RESERVE_IN, _RESERVE_OUT = 0x5E, 0x5F
_SERVICE_ACTION = 0x1F


class Commands(NamedTuple):
    """How often one node did what, in whole rounds."""

    rounds: int
    reads: int
    """Of all regions, beside those of the rounds."""
    ballots: int
    matches: int
    commits: int
    fences: int
    """PREEMPT AND ABORT."""
    key_reads: int
    """READ KEYS."""
    others: int

    @property
    def per_round(self) -> float:
        """All commands for each round."""
        return (2 * self.rounds + sum(self[1:])) / self.rounds

    @property
    def election(self) -> int:
        """Commands of one election without those that fence: ballots, reads, the check of the keys, one commit."""
        return self.ballots + self.matches + self.reads + self.key_reads + min(1, self.commits)


def count(entries: Iterable[Entry], node: int, first: int, last: int) -> Commands:
    """The commands of ``node`` from its first round after command ``first`` to its last one before command ``last``.

    Raises :class:`ClaimFailed` if it began no two rounds in that time.
    """
    own = [entry for entry in entries if entry.nexus.number == node and first <= entry.order < last]
    beats = [entry.order for entry in own if _kind(entry, node) == "rounds"]
    if len(beats) < 2:
        raise ClaimFailed(
            f"node {node} began {len(beats)} rounds in commands {first} to {last}; two or more are needed"
        )
    found = Counter(_kind(entry, node) for entry in own if beats[0] <= entry.order < beats[-1])
    found["reads"] -= found["rounds"]
    return Commands(**{kind: found[kind] for kind in Commands._fields})


def _kind(entry: Entry, node: int) -> str:
    reserves = entry.opcode in (_RESERVE_IN, _RESERVE_OUT)  # what stands there for an address is none
    if not reserves and (entry.lba >= layout.VOLUMES_LBA or entry.opcode == SYNCHRONIZE_CACHE[0]):
        return "volumes"
    if entry.writes:
        places = {
            layout.region_lba(node, layout.HEARTBEAT_SECTOR): "rounds",
            layout.region_lba(node, layout.BALLOT_SECTOR): "ballots",
            layout.region_lba(node, layout.MATCH_SECTOR): "matches",
            layout.region_lba(node, layout.COMMIT_SECTOR): "commits",
        }
        return places.get(entry.lba, "others")
    if entry.lba == layout.REGIONS_LBA and entry.blocks:
        return "reads"
    action = entry.service_action & _SERVICE_ACTION
    if (entry.opcode, action) == (_RESERVE_OUT, pr.PREEMPT_AND_ABORT):
        return "fences"
    if (entry.opcode, action) == (_RESERVE_IN, pr.READ_KEYS):
        return "key_reads"
    return "others"
