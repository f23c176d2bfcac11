"""Faults that meet at one command, and commands that outlast what struck them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi.faults.selection import Selection
from hil.scsi.iscsi import pdu as p
from hil.scsi.sense import Status
from hil.scsi.target import Target
from tests.unit.scsi_fence import NEW, OLD, VICTIM, F, R, W, disk, entries, pair, status, write
from tests.unit.scsi_initiator import Initiator, make_target, read_10, write_10
from tests.unit.scsi_reserve import GOOD
from tests.unit.scsi_timers import ManualTimers


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path, ledger=True)
    target.faults.timers = ManualTimers()
    yield target
    target.units[0].medium.close()
    assert target.ledger is not None
    target.ledger.close()


def later(target: Target, seconds: float = 0.001) -> None:
    assert isinstance(target.faults.timers, ManualTimers)
    target.faults.timers.advance(seconds)


def writes(target: Target) -> list[tuple[int, int, tuple[int, ...]]]:
    """Status, letter of what reached the medium at block 0, faults; in the order of the ledger."""
    return [(entry.status, entry.changed, entry.faults) for entry in entries(target) if entry.writes]


# -- reset -----------------------------------------------------------------------------------------------------------


def test_a_write_whose_connection_is_reset_after_it_has_its_place_in_the_order_in_which_it_took_effect(
    target: Target,
) -> None:
    master, victim = pair(target)
    target.faults.inject("reset", VICTIM, 1, parameters={"when": "after"})
    assert write(victim, 0, NEW) == []
    assert status(write(master, 0, b"m" * 512)) == GOOD  # before the connection has ended
    later(target)
    assert victim.dropped == ["reset by fault 1"]
    assert disk(target) == b"m" * 512
    assert writes(target) == [(Status.TASK_ABORTED, True, (1,)), (GOOD, True, ())]


def test_a_write_is_done_once_when_the_reset_after_it_is_healed_before_the_connection_has_ended(
    target: Target,
) -> None:
    master, victim = pair(target)
    fault = target.faults.inject("reset", VICTIM, parameters={"when": "after"})
    assert write(victim, 0, NEW) == []
    assert status(write(master, 0, b"m" * 512)) == GOOD
    assert target.faults.heal(fault.number) == 0
    assert disk(target) == b"m" * 512
    later(target)
    assert victim.dropped == ["reset by fault 1"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reset_and_then_a_hang_leave_nothing_held(target: Target, when: str) -> None:
    _, victim = pair(target)
    target.faults.inject("reset", VICTIM, 1, parameters={"when": when})
    target.faults.inject("hang", VICTIM, 1)
    assert write(victim) == []
    later(target)
    assert victim.dropped == ["reset by fault 1"]
    assert writes(target) == [(Status.TASK_ABORTED, False, (1, 2))]
    assert (target.faults.held(), target.faults.held_bytes) == ([], 0)
    assert disk(target) == OLD


@pytest.mark.parametrize(("when", "written"), [("before", False), ("after", True)])
def test_a_delayed_write_that_is_then_reset_ends_without_the_next_session_of_its_node(
    target: Target, when: str, written: bool
) -> None:
    _, victim = pair(target)
    delay = target.faults.inject("delay-writes", VICTIM, 1)
    target.faults.inject("reset", VICTIM, 1, parameters={"when": when})
    assert write(victim) == []
    victim.session.end("gone")
    target.detach(victim.nexus, victim.session)
    again = Initiator(target, "iqn.test:victim")
    target.faults.heal(delay.number)
    later(target)
    assert again.dropped == []
    assert (disk(target) == NEW) == written
    assert writes(target) == [(Status.TASK_ABORTED, written, (1, 2))]
    assert status(again.command(write_10(1, 1), NEW, edtl=512, flags=F | W)) == GOOD


def test_of_several_commands_that_reset_one_connection_each_is_told(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("reset", Selection(), 2, parameters={"when": "after"})
    assert write(victim, 0) == []
    assert write(victim, 1) == []
    later(target)
    assert victim.dropped == ["reset by fault 1"]
    assert writes(target) == [(Status.TASK_ABORTED, True, (1,))] * 2


# -- stale -----------------------------------------------------------------------------------------------------------

READ = read_10(0, 2)


def read(node: Initiator) -> list[tuple[p.Pdu, bytes]]:
    return node.command(READ, edtl=1024, flags=F | R)


def data_in(answers: list[tuple[p.Pdu, bytes]]) -> bytes:
    [(answer, data)] = answers
    assert isinstance(answer, p.DataIn)
    return data


@pytest.mark.parametrize("count", [None, 1])
def test_a_stale_read_that_waits_sees_the_moment_of_injection_though_the_fault_is_over(
    target: Target, count: int | None
) -> None:
    master, victim = pair(target)
    stale = target.faults.inject("stale", VICTIM, count)
    hang = target.faults.inject("hang", VICTIM, 1)
    assert read(victim) == []
    if count is None:
        target.faults.heal(stale.number)
    write(master, 0)
    target.faults.heal(hang.number)
    assert data_in(victim.answers()) == OLD * 2
    assert data_in(read(victim)) == NEW + OLD
    assert not target.units[0].observed


def test_what_a_stale_fault_keeps_is_given_back_when_the_last_read_that_waits_is_aborted(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("stale", VICTIM, 1)
    target.faults.inject("slow", VICTIM, 1, parameters={"ms": 10})
    target.faults.inject("hang", VICTIM, 1)
    assert read(victim) == []
    later(target, 0.02)
    assert victim.answers() == []
    assert target.units[0].observed
    victim.session.abort_tasks(None)
    assert not target.units[0].observed


def test_a_read_that_two_stale_faults_strike_sees_one_moment_the_later_one(target: Target) -> None:
    master, victim = pair(target)
    target.faults.inject("stale", VICTIM)
    write(master, 0, b"1" * 512)
    target.faults.inject("stale", VICTIM)
    write(master, 1, b"2" * 512)
    assert data_in(read(victim)) == b"1" * 512 + OLD


# -- holding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("later_one", ["hang", "slow"])
def test_a_fault_that_was_healed_holds_nothing_any_more(target: Target, later_one: str, together: bool) -> None:
    _, victim = pair(target)
    delay = target.faults.inject("delay-writes", VICTIM)
    parameters = {"ms": 10} if later_one == "slow" else {}
    other = target.faults.inject(later_one, VICTIM, parameters=parameters)
    assert write(victim) == []
    if together:
        target.faults.heal(None)
    else:
        target.faults.heal(other.number)
        target.faults.heal(delay.number)
    assert status(victim.answers()) == GOOD
    assert (target.faults.held(), target.faults.held_bytes) == ([], 0)
    later(target, 1)
    assert writes(target) == [(GOOD, True, (1, 2))]


def test_a_fault_for_a_number_of_commands_is_over_when_they_are_though_it_never_held_one(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("slow", VICTIM, 2, parameters={"ms": 10})
    target.faults.inject("hang", VICTIM, 1)
    assert write(victim) == []
    assert sorted(target.faults.faults) == [1, 2]
    victim.session.abort_tasks(None)
    assert sorted(target.faults.faults) == [1]
    assert write(victim) == []
    later(target, 1)
    assert status(victim.answers()) == GOOD
    assert target.faults.faults == {}
