"""What one initiator can make grow in the SCSI target, and how far."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.pending import TASKS_MAX
from hil.scsi.target import Target
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
