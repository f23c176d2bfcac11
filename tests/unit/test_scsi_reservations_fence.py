"""A fence that fences: queued writes of a preempted nexus, held in the target by a fault (spec S6.2, A3, A4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hil.scsi.faults.selection import Selection
from hil.scsi.fenced_writes import first_writes_after_removal, writes_after_removal
from hil.scsi.iscsi import pdu as p
from hil.scsi.ledger import Ledger, RegistrationEnded
from hil.scsi.reservations import REGISTRATIONS_PREEMPTED
from hil.scsi.sense import Status
from hil.scsi.target import Target
from tests.unit.scsi_fence import NEW, OLD, VICTIM, F, W, disk, entries, out, pair, records, status, write
from tests.unit.scsi_initiator import Initiator, make_target, write_10
from tests.unit.scsi_reserve import (
    CLEAR,
    CONFLICT,
    GOOD,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    REGISTER_AND_IGNORE,
    WERO,
    out_cdb,
    out_data,
)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path, ledger=True)
    yield target
    target.units[0].medium.close()
    assert target.ledger is not None
    target.ledger.close()


def test_preempt_and_abort_answers_when_no_queued_write_can_land_any_more(target: Target) -> None:  # A3
    master, victim = pair(target)
    target.faults.inject("delay-writes", VICTIM)
    for lba in range(5):
        assert write(victim, lba) == []
    assert out(master, PREEMPT_AND_ABORT, 0x10, 0x11, WERO) == GOOD
    assert not victim.session.tasks.by_itt
    assert target.faults.held_bytes == 0
    assert target.faults.heal(None) == 0
    assert victim.answers() == []
    assert [disk(target, lba) for lba in range(5)] == [OLD] * 5
    aborted = [entry for entry in entries(target) if entry.writes]
    assert [(entry.status, entry.changed, entry.lba) for entry in aborted] == [
        (Status.TASK_ABORTED, False, lba) for lba in range(5)
    ]
    assert entries(target)[-1].name == "PERSISTENT RESERVE OUT"  # after them in the one order


def test_plain_preempt_lets_the_very_same_write_reach_the_medium(target: Target) -> None:  # A3, the test of the test
    master, victim = pair(target)
    target.faults.inject("delay-writes", VICTIM)
    assert write(victim) == []
    assert out(master, PREEMPT, 0x10, 0x11, WERO) == GOOD
    assert disk(target) == OLD
    assert target.faults.heal(None) == 1
    assert disk(target) == NEW
    [found] = writes_after_removal(records(target))
    assert found.write.changed
    assert found.removal.key == 0x11


def test_after_preempt_and_abort_every_write_is_refused_and_the_ledger_names_the_first(target: Target) -> None:
    master, victim = pair(target)
    assert status(write(victim, 1)) == GOOD
    assert out(master, PREEMPT_AND_ABORT, 0x10, 0x11, WERO) == GOOD
    assert victim.nexus.attentions == {0: [REGISTRATIONS_PREEMPTED]}
    assert [status(write(victim, lba)) for lba in (7, 8)] == [CONFLICT, CONFLICT]
    [first] = first_writes_after_removal(records(target))
    assert (first.write.lba, first.write.blocks, first.write.conflict, first.write.changed) == (7, 1, True, False)
    assert (first.removal.nexus.initiator, first.removal.by.initiator) == ("iqn.test:victim", "iqn.test:master")
    preempt = next(entry for entry in entries(target) if entry.order == first.removal.order)
    assert (preempt.service_action, preempt.lba, preempt.blocks) == (PREEMPT_AND_ABORT, 0x10, WERO)
    assert preempt.digest == bytes(7) + b"\x11" + bytes(8)


def test_a_write_after_a_new_registration_is_not_one_after_the_removal(target: Target) -> None:
    master, victim = pair(target)
    out(master, CLEAR, 0x10)
    victim.nexus.attentions.clear()
    removed = [record for record in records(target) if isinstance(record, RegistrationEnded)]
    assert {record.key for record in removed} == {0x10, 0x11}
    assert out(victim, REGISTER, 0x99, 0x12) == CONFLICT
    assert out(victim, REGISTER_AND_IGNORE, 0, 0) == GOOD
    write(victim, 1)
    assert out(victim, REGISTER_AND_IGNORE, 0, 0x12) == GOOD
    write(victim, 2)
    found = writes_after_removal(records(target))
    assert [after.write.lba for after in found] == [1]


def test_a_write_whose_data_is_still_on_its_way_is_aborted_too(target: Target) -> None:
    master, victim = pair(target)
    [(answer, _)] = victim.command(write_10(0, 1), edtl=512, flags=F | W)
    assert isinstance(answer, p.R2T)
    assert out(master, PREEMPT_AND_ABORT, 0x10, 0x11, WERO) == GOOD
    assert victim.data_out(0, NEW, ttt=answer.ttt) == []
    assert disk(target) == OLD


def test_commands_of_other_nexuses_are_left_alone(target: Target) -> None:
    master, victim = pair(target)
    third = Initiator(target, "iqn.test:third")
    out(third, REGISTER_AND_IGNORE, 0, 0x12)
    target.faults.inject("delay-writes", Selection())
    write(third, 3)
    write(victim, 4)
    write(master, 5)
    assert out(master, PREEMPT_AND_ABORT, 0x10, 0x11, WERO) == GOOD
    assert target.faults.heal(None) == 2
    assert [disk(target, lba) for lba in (3, 4, 5)] == [NEW, OLD, NEW]


@pytest.mark.parametrize("immediate", [True, False], ids=["immediate data", "solicited data"])
def test_a_node_aborts_what_its_own_key_left_queued_but_not_the_request_itself(  # spec S6.3
    target: Target, immediate: bool
) -> None:
    _, node = pair(target)
    target.faults.inject("delay-writes", VICTIM)
    write(node)
    cdb, data = out_cdb(PREEMPT_AND_ABORT, WERO), out_data(0x11, 0x11)
    if immediate:
        answers = node.command(cdb, data, edtl=24, flags=F | W)
    else:
        [(r2t, _)] = node.command(cdb, edtl=24, flags=F | W)
        assert isinstance(r2t, p.R2T)
        answers = node.data_out(0, data, ttt=r2t.ttt)
    assert status(answers) == GOOD
    assert target.faults.heal(None) == 0
    assert disk(target) == OLD
    assert [entry.status for entry in entries(target)][3:] == [Status.TASK_ABORTED, GOOD]
    assert status(write(node)) == GOOD


def reset(node: Initiator) -> None:
    assert node.manage(5) == 0


def abort_task(node: Initiator) -> None:
    assert node.manage(1, referenced_itt=node.itt) == 0


def log_in_again(node: Initiator) -> None:  # A4: killed with a write in flight, back at once
    Initiator(node.target, node.nexus.initiator)
    assert node.dropped


def log_out(node: Initiator) -> None:
    node.send(p.LogoutRequest(p.Op.LOGOUT_REQUEST | p.IMMEDIATE, F, 0, 5, 0, 1, 0))


def lose_the_connection(node: Initiator) -> None:
    node.session.end("connection lost")


@pytest.mark.parametrize("end", [reset, abort_task, log_in_again, log_out, lose_the_connection])
def test_a_held_write_that_was_aborted_never_reaches_the_medium(
    target: Target, end: Callable[[Initiator], None]
) -> None:  # A4
    _, victim = pair(target)
    target.faults.inject("hang", VICTIM)
    assert write(victim) == []
    end(victim)
    assert target.faults.heal(None) == 0
    assert disk(target) == OLD
    [entry] = [entry for entry in entries(target) if entry.writes]
    assert (entry.status, entry.changed, bool(entry.faults)) == (Status.TASK_ABORTED, False, True)


def abort_task_set(node: Initiator) -> None:
    assert Initiator(node.target, node.nexus.initiator).manage(2) == 0


def clear_task_set(node: Initiator) -> None:
    assert Initiator(node.target, "iqn.test:master").manage(4) == 0


def preempt_the_old_key(node: Initiator) -> None:  # spec S6.3
    again = Initiator(node.target, node.nexus.initiator)
    assert out(again, REGISTER_AND_IGNORE, 0, 0x21) == GOOD
    assert out(again, PREEMPT_AND_ABORT, 0x21, 0x21, WERO) == GOOD


def be_preempted(node: Initiator) -> None:  # spec S6.2
    assert out(Initiator(node.target, "iqn.test:master"), PREEMPT_AND_ABORT, 0x10, 0x11, WERO) == GOOD


@pytest.mark.parametrize("gone", [log_in_again, lose_the_connection])
@pytest.mark.parametrize("end", [None, reset, abort_task_set, clear_task_set, preempt_the_old_key, be_preempted])
def test_a_delayed_write_outlives_its_session_and_lands_unless_it_is_aborted(
    target: Target, gone: Callable[[Initiator], None], end: Callable[[Initiator], None] | None
) -> None:  # A3, A4
    _, victim = pair(target)
    target.faults.inject("delay-writes", VICTIM)
    assert write(victim) == []
    gone(victim)
    assert [entry for entry in entries(target) if entry.writes] == []
    if end is not None:
        end(victim)
    assert target.faults.heal(None) == int(end is None)
    assert disk(target) == (NEW if end is None else OLD)
    [entry] = [entry for entry in entries(target) if entry.writes]
    assert (entry.status, entry.changed) == ((GOOD, True) if end is None else (Status.TASK_ABORTED, False))
    assert target.faults.held_bytes == 0


def test_the_ledger_goes_on_after_the_end_of_a_registration(target: Target) -> None:
    master, _ = pair(target)
    out(master, PREEMPT_AND_ABORT, 0x10, 0x11, WERO)
    before = entries(target)
    assert target.ledger is not None
    target.ledger.close()
    target.ledger = Ledger(target.ledger.path)
    assert target.ledger.order_next == len(before)
    assert status(write(master)) == GOOD
    assert [entry.order for entry in entries(target)] == list(range(len(before) + 1))
