"""Faults about the answer: late, never, refused, or the connection goes; and which commands they are for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.errors import UsageError
from hil.scsi.faults.selection import Selection, directions
from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.login import LoginRefused, LoginStatus
from hil.scsi.ledger import read_all
from hil.scsi.ledger_records import FaultHealed, FaultInjected
from hil.scsi.medium import Medium
from hil.scsi.sense import Sense, Status
from hil.scsi.target import Target
from tests.unit.scsi_fence import NEW, OLD, VICTIM, F, R, W, disk, entries, pair, status, write
from tests.unit.scsi_initiator import PORTAL, Initiator, make_target, read_10, write_10
from tests.unit.scsi_reserve import CHECK, GOOD
from tests.unit.scsi_timers import ManualTimers

SYNC = bytes.fromhex("35000000000000000000")
INQUIRY = bytes.fromhex("120000006000")
READY = bytes(6)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path, ledger=True)
    target.faults.timers = ManualTimers()
    target.add_unit(1, Medium(str(tmp_path / "second.raw"), 1024 * 1024), "00112233445566ab")
    yield target
    for unit in target.units.values():
        unit.medium.close()
    assert target.ledger is not None
    target.ledger.close()


def timers(target: Target) -> ManualTimers:
    assert isinstance(target.faults.timers, ManualTimers)
    return target.faults.timers


def read(node: Initiator, lba: int = 0, blocks: int = 1) -> list[tuple[p.Pdu, bytes]]:
    return node.command(read_10(lba, blocks), edtl=512 * blocks, flags=F | R)


def sense(answers: list[tuple[p.Pdu, bytes]]) -> tuple[Sense, int | None]:
    """And the information field."""
    [(answer, data)] = answers
    assert isinstance(answer, p.ScsiResponse)
    assert answer.status == CHECK
    found = data[2:]
    valid = found[0] & 0x80
    return Sense(found[2], found[12], found[13]), int.from_bytes(found[3:7], "big") if valid else None


def data_in(answers: list[tuple[p.Pdu, bytes]]) -> bytes:
    [(answer, data)] = answers
    assert isinstance(answer, p.DataIn)
    return data


# -- whom, what, how long --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "struck"),
    [
        ("read", {"read"}),
        ("write", {"write"}),
        ("flush", {"flush"}),
        ("other", {"inquiry", "ready"}),
        ("media", {"read", "write", "flush"}),
        ("any", {"read", "write", "flush", "inquiry", "ready"}),
        (None, {"read", "write", "flush", "inquiry", "ready"}),
    ],
)
def test_a_fault_strikes_the_directions_that_it_was_told(
    target: Target, direction: str | None, struck: set[str]
) -> None:
    master, victim = pair(target)
    chosen = None if direction is None else directions(direction)
    fault = target.faults.inject("hang", VICTIM._replace(directions=chosen))
    for node in (victim, master):
        found = {
            "read": read(node),
            "write": write(node),
            "flush": node.command(SYNC),
            "inquiry": node.command(INQUIRY, edtl=96, flags=F | R),
            "ready": node.command(READY),
        }
        assert {name for name, answers in found.items() if not answers} == (struck if node is victim else set())
    assert fault.struck == len(fault.held) == len(struck)


@pytest.mark.parametrize(
    ("lba", "blocks", "hit"), [(9, 1, False), (9, 2, True), (10, 1, True), (19, 1, True), (20, 1, False), (0, 64, True)]
)
def test_a_range_of_blocks_is_hit_by_a_command_that_touches_one_of_them(
    target: Target, lba: int, blocks: int, hit: bool
) -> None:
    _, victim = pair(target)
    target.faults.inject("hang", VICTIM._replace(lba=(10, 19)))
    assert (read(victim, lba, blocks) == []) == hit
    assert (victim.command(write_10(lba, blocks), NEW * blocks, edtl=512 * blocks, flags=F | W) == []) == hit
    assert victim.command(READY) != []  # is about no block


def test_a_unit_is_struck_and_the_other_is_not(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("error", Selection(lun=1))
    assert status(write(victim)) == GOOD
    request = p.ScsiCommand(p.Op.SCSI_COMMAND, F | W, 0, 1 << 48, 77, 512, victim.cmd_sn, 0, write_10(0, 1))
    assert sense(victim.send(request, NEW)) == (Sense(0x3, 0x0C, 0x00), 0)


def test_a_fault_for_a_time_heals_itself_and_lets_go_what_it_held(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("hang", VICTIM, seconds=2.5)
    assert write(victim) == []
    timers(target).advance(2.4)
    assert (disk(target), victim.answers()) == (OLD, [])
    timers(target).advance(0.2)
    assert disk(target) == NEW
    assert status(victim.answers()) == GOOD
    assert (target.faults.faults, target.faults.armed, target.faults.held_bytes) == ({}, [], 0)
    assert status(write(victim)) == GOOD


def test_the_time_of_a_fault_that_was_healed_is_over_for_good(target: Target) -> None:
    _, victim = pair(target)
    first = target.faults.inject("error", VICTIM, seconds=1)
    target.faults.heal(first.number)
    target.faults.inject("error", VICTIM)
    timers(target).advance(5)
    assert sense(write(victim))[0].key == 0x3


def test_a_fault_for_a_number_of_commands_is_over_after_them(target: Target) -> None:
    _, victim = pair(target)
    fault = target.faults.inject("error", VICTIM, 2)
    assert [status(write(victim)) for _ in range(3)] == [CHECK, CHECK, GOOD]
    assert target.faults.faults == {}
    with pytest.raises(UsageError, match=f"fault {fault.number} does not exist"):
        target.faults.heal(fault.number)


def test_injection_and_end_of_a_fault_are_in_the_ledger_and_told_to_watchers(target: Target) -> None:
    told: list[dict[str, Any]] = []
    target.events.watchers.append(told.append)
    _, victim = pair(target)
    target.faults.inject("error", VICTIM._replace(lba=(0, 9)), 2, parameters={"sense": "hardware"})
    timed = target.faults.inject("slow", VICTIM, seconds=5, parameters={"ms": 1})
    asked = target.faults.inject("offline", Selection(lun=1))
    write(victim)
    write(victim)
    target.faults.heal(asked.number)
    timers(target).advance(6)
    names = [(event["event"], event.get("number"), event.get("why")) for event in told]
    assert names == [
        ("fault-injected", 1, None),
        ("fault-injected", 2, None),
        ("fault-injected", 3, None),
        ("fault-struck", 1, None),
        ("fault-struck", 2, None),
        ("fault-healed", 1, "count"),
        ("fault-healed", 3, "asked"),
        ("fault-healed", 2, "time"),
    ]
    assert target.ledger is not None
    records = list(read_all(target.ledger.path))
    injected = [record for record in records if isinstance(record, FaultInjected)]
    healed = [record for record in records if isinstance(record, FaultHealed)]
    assert [record.number for record in injected] == [1, 2, 3]
    assert [record.about["fault"] for record in injected] == ["error", "slow", "offline"]
    assert injected[0].about["parameters"] == {"sense": "hardware"}
    assert injected[0].about["lba"] == [0, 9]
    assert [(record.number, record.why, record.struck) for record in healed] == [
        (1, "count", 2), (3, "asked", 0), (timed.number, "time", 2),
    ]  # fmt: skip
    # The order number says between which commands it was in force.
    struck = [entry for entry in entries(target) if entry.faults]
    assert [entry.faults for entry in struck] == [(1, 2), (1, 2)]
    assert injected[0].order == struck[0].order
    assert healed[0].order == struck[1].order


# -- several at once -------------------------------------------------------------------------------------------------


def test_several_faults_strike_one_command_in_the_order_of_their_injection(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("slow", VICTIM, parameters={"ms": 100})
    hang = target.faults.inject("hang", VICTIM)
    target.faults.inject("lost", VICTIM)
    assert write(victim) == []
    assert hang.held == {}
    timers(target).advance(0.2)
    assert len(hang.held) == 1
    assert victim.answers() == []
    target.faults.heal(hang.number)
    assert status(victim.answers()) == GOOD
    assert disk(target) == OLD
    [entry] = [entry for entry in entries(target) if entry.writes]
    assert (entry.faults, entry.placed, entry.changed) == ((1, 2, 3), (), False)


def test_more_faults_than_fit_into_a_record_are_all_told(target: Target) -> None:
    _, victim = pair(target)
    for _ in range(30):
        target.faults.inject("slow", VICTIM, parameters={"ms": 1})
    write(victim)
    timers(target).advance(1)
    assert status(victim.answers()) == GOOD
    assert entries(target)[-1].faults == tuple(range(1, 31))


# -- the kinds -------------------------------------------------------------------------------------------------------


def test_a_slow_answer_comes_after_its_time_and_the_write_is_done_then(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("slow", VICTIM, parameters={"ms": 50})
    assert write(victim) == []
    timers(target).advance(0.049)
    assert disk(target) == OLD
    timers(target).advance(0.002)
    assert (disk(target), status(victim.answers())) == (NEW, GOOD)
    assert not target.faults.armed[0].held


@pytest.mark.parametrize("spread", ["uniform", "exponential"])
def test_delays_from_a_distribution_depend_on_the_seed_alone(tmp_path: Path, spread: str) -> None:
    def finishing_order(directory: str, seed: int) -> list[int]:
        (tmp_path / directory).mkdir()
        target = make_target(tmp_path / directory, ledger=True)
        target.faults.timers = ManualTimers()
        _, victim = pair(target)
        target.faults.inject("slow", VICTIM, parameters={"ms": 50, "spread": spread, "seed": seed})
        for lba in range(20):
            assert write(victim, lba) == []
        timers(target).advance(50 * 20 / 1000 + 0.001)  # the longest that an exponential delay gets
        lbas = [entry.lba for entry in entries(target) if entry.writes]
        target.units[0].medium.close()
        return lbas

    first, again, other = finishing_order("a", 1), finishing_order("b", 1), finishing_order("c", 2)
    assert sorted(first) == list(range(20))
    assert first == again != other
    assert first != list(range(20))


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("medium", Sense(0x3, 0x0C, 0x00)),
        ("hardware", Sense(0x4, 0x44, 0x00)),
        ("not-ready", Sense(0x2, 0x04, 0x00)),
    ],
)
def test_an_error_is_told_in_sense_data_and_nothing_is_written(target: Target, parameter: str, expected: Sense) -> None:
    _, victim = pair(target)
    target.faults.inject("error", VICTIM, parameters={"sense": parameter})
    assert sense(write(victim))[0] == expected
    assert disk(target) == OLD
    assert victim.command(READY) != []
    assert entries(target)[-2].sense == expected


def test_a_medium_error_names_the_first_bad_block(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("error", VICTIM._replace(lba=(12, 13)))
    assert sense(read(victim, 10, 4)) == (Sense(0x3, 0x11, 0x00), 12)
    assert sense(read(victim, 13, 1)) == (Sense(0x3, 0x11, 0x00), 13)
    assert data_in(read(victim, 14, 1)) == OLD


def test_busy_is_a_status_without_sense_data(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("error", VICTIM, 1, parameters={"sense": "busy"})
    assert [status(write(victim)) for _ in range(2)] == [Status.BUSY, GOOD]


def test_a_fence_can_be_made_to_fail(target: Target) -> None:  # A18
    from tests.unit.scsi_fence import out
    from tests.unit.scsi_reserve import PREEMPT_AND_ABORT, WERO

    master, victim = pair(target)
    target.faults.inject("error", Selection(directions=directions("reserve")), 1, parameters={"sense": "hardware"})
    assert out(master, PREEMPT_AND_ABORT, 0x10, 0x11, WERO) == CHECK
    assert status(write(victim)) == GOOD  # it is still registered
    assert out(master, PREEMPT_AND_ABORT, 0x10, 0x11, WERO) == GOOD
    assert status(write(victim)) == Status.RESERVATION_CONFLICT


def test_an_offline_unit_still_says_who_it_is(target: Target) -> None:
    _, victim = pair(target)
    fault = target.faults.inject("offline", Selection(lun=0))
    assert sense(victim.command(READY))[0] == Sense(0x2, 0x04, 0x12)
    assert sense(read(victim))[0] == Sense(0x2, 0x04, 0x12)
    assert len(data_in(victim.command(INQUIRY, edtl=96, flags=F | R))) == 96
    target.faults.heal(fault.number)
    assert data_in(read(victim)) == OLD


@pytest.mark.parametrize(("when", "written"), [("before", False), ("after", True)])
def test_a_reset_connection_leaves_the_write_done_or_not_and_unanswered(
    target: Target, when: str, written: bool
) -> None:
    _, victim = pair(target)
    target.faults.inject("reset", VICTIM, 1, parameters={"when": when})
    assert write(victim) == []
    assert victim.dropped == []  # not in the middle of receiving from it
    timers(target).advance(0.001)
    assert victim.dropped == ["reset by fault 1"]
    assert victim.answers() == []
    assert (disk(target) == NEW) == written
    [entry] = [entry for entry in entries(target) if entry.writes]
    assert (entry.status, entry.changed, entry.faults) == (Status.TASK_ABORTED, written, (1,))
    assert target.faults.faults == {}
    again = Initiator(target, "iqn.test:victim")
    assert status(write(again)) == GOOD


def test_a_refused_login_says_that_the_service_is_unavailable_and_sessions_stay(target: Target) -> None:
    _, victim = pair(target)
    fault = target.faults.inject("refuse-login", VICTIM, 2)
    target.admit(PORTAL, "iqn.test:master", target.name)
    for _ in range(2):
        with pytest.raises(LoginRefused, match="fault 1, refuse-login") as refused:
            target.admit(PORTAL, "iqn.test:victim", target.name)
        assert refused.value.status is LoginStatus.SERVICE_UNAVAILABLE
    target.admit(PORTAL, "iqn.test:victim", target.name)
    assert (fault.struck, target.faults.faults) == (2, {})
    assert status(write(victim)) == GOOD


def test_a_fault_with_a_time_is_refused_by_a_target_that_does_not_run(tmp_path: Path) -> None:
    target = make_target(tmp_path)
    for name, seconds, ms in (("hang", 1, {}), ("slow", None, {"ms": 1}), ("reset", None, {})):
        with pytest.raises(UsageError, match="needs a target that runs"):
            target.faults.inject(name, Selection(), seconds=seconds, parameters=ms)
    assert target.faults.faults == {}
    target.units[0].medium.close()


def test_reads_that_a_fault_held_do_not_fill_the_memory_of_whom_does_not_read(target: Target) -> None:
    _, victim = pair(target)
    fault = target.faults.inject("hang", VICTIM)
    for _ in range(20):
        assert read(victim, 0, 2048) == []
    target.faults.heal(fault.number)
    assert victim.session.out_bytes <= 2 * 1024 * 1024 + 4096  # nobody takes what is there
    answered = 0
    while victim.session.out:
        answered += sum(
            isinstance(answer, p.DataIn) and bool(answer.flags & p.HAS_STATUS) for answer, _ in victim.answers()
        )
        victim.session.out_bytes = 0
        victim.session.go_on()
    assert answered == 20
    assert [entry.status for entry in entries(target) if entry.name == "READ (10)"] == [GOOD] * 20


def test_a_stale_read_that_waits_for_its_initiator_is_still_stale(target: Target) -> None:
    master, victim = pair(target)
    assert status(write(master, 0, b"a" * 512)) == GOOD
    target.faults.inject("stale", VICTIM)
    target.faults.inject("hang", VICTIM._replace(directions=directions("read")))
    for _ in range(3):
        assert read(victim, 8, 2048) == []
    assert read(victim, 0, 1) == []
    target.faults.heal(None)
    assert status(write(master, 0, b"b" * 512)) == GOOD
    found = b""
    while victim.session.out:
        found = victim.answers()[-1][1]
        victim.session.out_bytes = 0
        victim.session.go_on()
    assert found == b"a" * 512
    assert not target.units[0].observed


def test_a_read_that_waits_for_its_initiator_is_still_struck_by_what_comes_next(target: Target) -> None:
    _, victim = pair(target)
    first = target.faults.inject("hang", VICTIM)
    second = target.faults.inject("hang", VICTIM, 4)
    for _ in range(4):
        assert read(victim, 0, 2048) == []
    victim.session.out_bytes = 2 * 1024 * 1024  # it does not read
    target.faults.heal(first.number)
    assert (len(second.held), second.number in target.faults.faults) == (0, True)
    victim.session.out_bytes = 0
    victim.session.go_on()
    assert len(second.held) == 4
    assert target.faults.heal(second.number) == 4


def test_a_slow_command_that_was_aborted_is_forgotten(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("slow", VICTIM, parameters={"ms": 3_600_000})
    for _ in range(50):
        assert write(victim) == []
        assert victim.manage(2) == 0
    assert target.faults.held_bytes == 0
    assert [timer for _, _, timer in timers(target)._due if timer.callback is not None] == []


def test_faults_that_are_healed_together_let_go_in_the_order_of_arrival(target: Target) -> None:
    _, victim = pair(target)
    faults = [target.faults.inject("hang", VICTIM._replace(lba=(lba, lba))) for lba in (9, 5)]
    for lba in (5, 9):
        assert write(victim, lba) == []
    assert target.faults.heal([fault.number for fault in faults]) == 2
    assert [entry.lba for entry in entries(target) if entry.writes] == [5, 9]
    with pytest.raises(UsageError, match="fault 1 does not exist"):
        target.faults.heal([1])


def test_a_delayed_write_outlives_an_orderly_logout_too(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("delay-writes", VICTIM)
    assert write(victim) == []
    victim.send(p.LogoutRequest(p.Op.LOGOUT_REQUEST | p.IMMEDIATE, F, 0, 5, 0, 1, 0))
    assert target.faults.heal(None) == 1
    assert disk(target) == NEW
