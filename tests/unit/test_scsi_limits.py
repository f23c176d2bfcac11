"""What one initiator can make grow in the SCSI target, and how far."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.login import Login
from hil.scsi.iscsi.negotiation import BadText, build_text, parse_text
from hil.scsi.iscsi.pending import TASKS_MAX, WINDOW
from hil.scsi.sense import Status
from hil.scsi.target import TARGET_NAME, Target
from tests.unit.scsi_initiator import Initiator, make_target, write_10

F, W = p.FINAL, p.WRITE
LONGEST_BLOCKS = 2048
EVERY_INITIATOR_TAKES_BYTES = 8192  # of a data segment, until it declares another length: RFC 7143 13.12


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    yield target
    target.units[0].medium.close()


def longest_write(initiator: Initiator) -> list[tuple[p.Pdu, bytes]]:
    return initiator.command(write_10(0, LONGEST_BLOCKS), edtl=LONGEST_BLOCKS * 512, flags=F | W)


def test_writes_that_are_aborted_while_they_wait_for_their_turn_leave_nothing_behind(target: Target) -> None:
    initiator = Initiator(target)
    tasks = initiator.session.tasks
    while longest_write(initiator):
        pass  # asked for its data
    waits_itt = initiator.itt
    for _ in range(2 * TASKS_MAX):
        assert longest_write(initiator) == []
        assert initiator.manage(1, referenced_itt=initiator.itt) == 0
    assert [task.itt for task, _ in tasks._waiting] == [waits_itt]
    initiator.session.abort_tasks(None)
    assert (tasks.by_itt, list(tasks._waiting), tasks._used_bytes) == ({}, [], 0)


def test_no_more_commands_than_there_is_room_for_are_under_way(target: Target) -> None:
    initiator = Initiator(target)
    cdb = write_10(0, 1)
    for itt in range(TASKS_MAX):
        initiator.send(p.ScsiCommand(p.Op.SCSI_COMMAND | p.IMMEDIATE, F | W, 0, 0, itt, 512, 1, 0, cdb))
    [(refused, _)] = initiator.send(
        p.ScsiCommand(p.Op.SCSI_COMMAND | p.IMMEDIATE, F | W, 0, 0, TASKS_MAX, 512, 1, 0, cdb)
    )
    assert isinstance(refused, p.Reject)
    initiator.itt = TASKS_MAX
    [(full, _)] = initiator.command(cdb, edtl=512, flags=F | W)
    assert isinstance(full, p.ScsiResponse)
    assert (full.status, full.max_cmd_sn) == (Status.TASK_SET_FULL, WINDOW + 1)
    assert len(initiator.session.tasks.by_itt) == TASKS_MAX


def test_no_text_is_sent_that_is_longer_than_the_initiator_takes(target: Target) -> None:  # RFC 7143 11.11.6
    initiator = Initiator(target, MaxRecvDataSegmentLength="512")
    [(answer, data)] = initiator.send(p.TextRequest(p.Op.TEXT_REQUEST, F, 0, 0, 5, p.NO_TAG, 1, 0), b"SendTargets=\0")
    assert isinstance(answer, p.TextResponse)
    assert data.startswith(b"TargetName=")
    text = b"SendTargets=\0" * 50
    [(answer, data)] = initiator.send(p.TextRequest(p.Op.TEXT_REQUEST, F, 0, 0, 6, p.NO_TAG, 2, 0), text)
    assert isinstance(answer, p.TextResponse)
    assert (answer.flags, len(data)) == (p.CONTINUE, 512)


class Door:
    def admit(self, initiator: str, target: str | None) -> None:
        """Everybody may."""


def test_the_longest_answer_to_a_login_fits_into_what_every_initiator_takes() -> None:  # RFC 7143 13.12
    names = build_text([("InitiatorName", "iqn.test:a"), ("TargetName", TARGET_NAME)])
    request = p.LoginRequest(p.Op.LOGIN_REQUEST | p.IMMEDIATE, F | 1 << 2 | 3, 0, 0, 0, bytes(6), 0, 7, 1, 100, 0)
    count = 1
    while True:
        text = names + build_text([(f"X-{index:061d}", "") for index in range(count)])
        try:
            parse_text(text)
        except BadText:
            break
        answer = Login(Door(), 5, WINDOW, 1).receive(request, text)
        assert len(answer) - p.HEADER_BYTES <= EVERY_INITIATOR_TAKES_BYTES
        count += 1
    assert count > 50
