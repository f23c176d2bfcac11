"""Faults of the disk: whom they strike, how often, what they hold, and that it is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.errors import UsageError
from hil.scsi.faults import table as faults
from hil.scsi.faults.selection import Selection
from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.pending import TASKS_MAX, WINDOW
from hil.scsi.sense import Status
from hil.scsi.target import Target
from tests.unit.scsi_fence import NEW, OLD, VICTIM, F, R, W, disk, entries, pair, status, write
from tests.unit.scsi_initiator import make_target, read_10, write_10
from tests.unit.scsi_reserve import (
    GOOD,
)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path, ledger=True)
    yield target
    target.units[0].medium.close()
    assert target.ledger is not None
    target.ledger.close()


def test_a_held_write_is_applied_and_answered_when_the_fault_is_healed(target: Target) -> None:
    _, victim = pair(target)
    fault = target.faults.inject("delay-writes", VICTIM)
    assert write(victim) == []
    assert victim.command(read_10(0, 1), edtl=512, flags=F | R) != []
    assert disk(target) == OLD
    assert target.faults.heal(fault.number) == 1
    assert disk(target) == NEW
    assert status(victim.answers()) == GOOD
    last = entries(target)[-1]
    assert (last.name, last.status, last.changed, bool(last.faults), last.lba, last.blocks) == (
        "WRITE (10)", GOOD, True, True, 0, 1,
    )  # fmt: skip


def test_a_fault_strikes_as_often_as_it_was_told_and_only_whom(target: Target) -> None:
    master, victim = pair(target)
    fault = target.faults.inject("delay-writes", VICTIM, 2)
    assert status(write(master)) == GOOD
    assert [write(victim, lba) for lba in (1, 2)] == [[], []]
    assert status(write(victim, 3)) == GOOD
    assert (fault.left, fault.struck, len(fault.held)) == (0, 2, 2)
    assert target.faults.heal(fault.number) == 2
    with pytest.raises(UsageError, match=f"fault {fault.number} does not exist: none are injected now"):
        target.faults.heal(fault.number)


def test_held_writes_are_applied_in_the_order_in_which_they_came(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("delay-writes", VICTIM, 1)
    target.faults.inject("delay-writes", VICTIM)
    for letter in (b"a", b"b", b"c"):
        write(victim, 0, letter * 512)
    assert target.faults.heal(None) == 3
    assert disk(target) == b"c" * 512


def test_a_held_write_takes_a_place_in_the_window_and_none_in_the_budget_for_data(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("delay-writes", VICTIM)
    before = victim.session.max_cmd_sn
    big = 2 * 1024 * 1024 // 512
    for _ in range(5):  # 1 MiB each, of which 4 may be asked for at the same time
        [(r2t, _)] = victim.command(write_10(0, big // 2), edtl=big * 256, flags=F | W)
        while isinstance(r2t, p.R2T):
            answers = victim.data_out(r2t.offset, bytes(r2t.desired), ttt=r2t.ttt)
            r2t = answers[0][0] if answers else None  # type: ignore[assignment]
    assert victim.session.max_cmd_sn == before
    assert len(victim.session.tasks.by_itt) == 5
    target.faults.heal(None)
    assert victim.session.max_cmd_sn == before + 5


def test_what_is_held_is_bounded_in_number_and_in_bytes(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    _, victim = pair(target)
    target.faults.inject("delay-writes", VICTIM)
    answers: list[tuple[p.Pdu, bytes]] = []
    for itt in range(TASKS_MAX + 1):
        request = p.ScsiCommand(p.Op.SCSI_COMMAND | p.IMMEDIATE, F | W, 0, 0, 5000 + itt, 512, 1, 0, write_10(0, 1))
        answers = victim.send(request, NEW)
        assert (answers == []) == (itt < TASKS_MAX)
    assert status(answers) == Status.TASK_SET_FULL
    assert target.faults.held_bytes == TASKS_MAX * 512 > WINDOW
    monkeypatch.setattr(faults, "HELD_BYTES_MAX", target.faults.held_bytes)
    assert status(write(victim)) == Status.TASK_SET_FULL


def test_faults_that_do_not_exist_are_refused_by_name(target: Target) -> None:
    with pytest.raises(UsageError, match="fault 'slow-down' does not exist: hang, delay-writes, slow, "):
        target.faults.inject("slow-down", Selection())
    with pytest.raises(UsageError, match="count 0: 1 or more is legal"):
        target.faults.inject("delay-writes", Selection(), 0)
