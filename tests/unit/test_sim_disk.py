"""The simulated disk: each fault does what the header of `hil/sim/disk.py` says, and no more, and is in the ledger."""

from __future__ import annotations

from collections import Counter

import pytest

from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.fence import persistent_reserve as pr
from guestd.fence.keys import key_of
from guestd.membership import layout
from hil.checkers.observation import Removal
from hil.sim import ledger
from tests.unit.sim_machine import Bench

BEAT, BALLOT, COMMIT = layout.HEARTBEAT_SECTOR, layout.BALLOT_SECTOR, layout.COMMIT_SECTOR
ONE, TWO = b"\x11" * 512, b"\x22" * 512
PREEMPT, CONFLICT, CHECK_CONDITION, UNIT_ATTENTION = 0x04, 0x18, 0x02, 6
SEEDS = range(40)


def registered(bench: Bench) -> Bench:
    """All nodes are, under the keys of their first lives, and the disk is reserved."""
    for machine in bench.machines:
        machine.out(pr.REGISTER_AND_IGNORE_EXISTING_KEY, 0, key_of(machine.number, 1))
        machine.answered()
    bench.machines[0].out(pr.RESERVE, key_of(0, 1))
    bench.machines[0].answered()
    return bench


def test_a_command_takes_effect_before_it_is_answered_and_not_when_it_is_sent() -> None:  # S2.5
    bench = Bench(latency_us_max=10_000)
    machine = bench.machines[0]
    machine.write(BEAT, ONE)
    assert bench.sector(0, BEAT) != ONE
    done = machine.answered()
    assert (done, bench.sector(0, BEAT)) == (WriteDone(1, True), ONE)
    assert bench.outcomes(0) == [ledger.DONE]


def test_without_a_reservation_everybody_writes_with_one_only_who_is_registered() -> None:  # S6.2
    bench = Bench()
    bench.machines[1].write(BEAT, ONE)
    assert bench.machines[1].answered().ok  # type: ignore[union-attr]
    bench.machines[0].out(pr.REGISTER_AND_IGNORE_EXISTING_KEY, 0, key_of(0, 1))
    bench.machines[0].answered()
    bench.machines[0].out(pr.RESERVE, key_of(0, 1))
    bench.machines[0].answered()
    bench.machines[1].write(BEAT, TWO)
    done = bench.machines[1].answered()
    assert isinstance(done, WriteDone)
    assert (done.ok, done.conflict, bench.sector(1, BEAT)) == (False, True, ONE)
    assert bench.outcomes(1) == [ledger.DONE, ledger.REFUSED]
    bench.machines[1].read(3)
    read = bench.machines[1].answered()
    assert isinstance(read, ReadDone)
    assert (read.ok, len(read.data)) == (True, 3 * layout.REGION_SIZE)  # type 7 keeps nobody from reading


def test_a_path_that_hangs_answers_nothing_until_every_fault_is_healed_and_then_all_in_order() -> None:  # A5, A8
    bench = Bench()
    machine, other = bench.machines[:2]
    bench.disk.hang(0)
    bench.disk.hang(0)
    machine.write(BEAT, ONE)
    bench.run(50)
    machine.write(BEAT, TWO)
    other.write(BEAT, TWO)
    bench.run(60_000)
    assert (machine.answers, len(other.answers)) == ([], 1)  # nobody else's path hangs
    assert not bench.disk.whole
    bench.disk.unhang(0)
    bench.run(60_000)
    assert machine.answers == []
    bench.disk.unhang(0)
    bench.run(100)
    assert machine.answers == [WriteDone(1, True), WriteDone(2, True)]
    assert (bench.sector(0, BEAT), bench.disk.whole) == (TWO, True)


def test_what_waits_at_a_path_that_hangs_is_gone_when_its_node_loses_power() -> None:  # A8
    bench = Bench()
    bench.disk.hang(0)
    bench.machines[0].write(BEAT, ONE)
    bench.run(100)
    bench.disk.power_lost(0)
    bench.disk.unhang(0)
    bench.run(60_000)
    assert bench.machines[0].answers == []
    assert bench.sector(0, BEAT) != ONE


def test_a_write_that_is_held_lands_and_is_answered_when_it_is_let_go() -> None:  # A3
    bench = Bench()
    machine = bench.machines[0]
    bench.disk.hold(0)
    machine.write(BEAT, ONE)
    bench.run(5000)
    machine.read(3)  # nothing else is held
    read = machine.answered()
    assert isinstance(read, ReadDone)
    assert read.data[:512] != ONE
    bench.disk.let_go(0)
    bench.run(100)
    assert bench.sector(0, BEAT) == ONE
    assert machine.answers[-1] == WriteDone(1, True)
    assert bench.outcomes(0) == [ledger.HELD, ledger.LANDED]


@pytest.mark.parametrize(("action", "lands"), [(PREEMPT, True), (pr.PREEMPT_AND_ABORT, False)])
def test_preempt_and_abort_ends_what_is_queued_and_preempt_alone_does_not(
    action: int, lands: bool
) -> None:  # S6.2, A3, A4
    bench = registered(Bench())
    removed: list[Removal] = []
    bench.disk.on_removed = removed.append
    victim, owner = bench.machines[:2]
    bench.disk.hold(0)
    victim.write(COMMIT, ONE + ONE)
    bench.run(100)
    owner.out(action, key_of(1, 1), key_of(0, 1))
    assert owner.answered() == ScsiDone(owner._tag, 0)
    assert removed == [Removal(0, 1, by=1)]
    bench.disk.let_go(0)
    bench.run(100)
    assert (bench.sector(0, COMMIT) == ONE) is lands
    assert (ledger.ABORTED in bench.outcomes(0)) is not lands
    # Nobody has answered an aborted one: the kernel sends it again after its timeout, and is told the conflict then.
    victim.answers.clear()
    bench.run(2700)
    assert victim.answers == []
    bench.run(500)
    told = [WriteDone(victim._tag, False, conflict=True)]
    assert victim.answers == ([] if lands else told)


def test_its_own_key_preempted_keeps_the_registration_and_ends_what_its_path_has_queued() -> None:  # S6.3
    bench = registered(Bench())
    machine = bench.machines[0]
    bench.disk.hold(0)
    machine.write(BEAT, ONE)
    bench.run(100)
    machine.out(pr.PREEMPT_AND_ABORT, key_of(0, 1), key_of(0, 1))
    machine.answered()
    assert bench.disk.held == []
    machine.keys()
    done = machine.answered()
    assert isinstance(done, ScsiDone)
    assert key_of(0, 1) in (pr.parse_keys(done.data) or [])


def test_a_tag_that_others_were_preempted_is_told_once_instead_of_carrying_out_a_command() -> None:  # S6.2
    bench = registered(Bench())
    victim, owner = bench.machines[:2]
    owner.out(pr.PREEMPT_AND_ABORT, key_of(1, 1), key_of(0, 1))
    owner.answered()
    victim.out(pr.REGISTER_AND_IGNORE_EXISTING_KEY, 0, key_of(0, 2))
    done = victim.answered()
    assert isinstance(done, ScsiDone)
    assert (done.status, done.sense_key) == (CHECK_CONDITION, UNIT_ATTENTION)
    assert key_of(0, 2) not in bench.disk.state.keys.values()  # it was not carried out
    victim.keys()
    done = victim.answered()
    assert isinstance(done, ScsiDone)
    assert (done.status, pr.parse_keys(done.data)) == (0, [key_of(1, 1), key_of(2, 1)])


def test_of_the_writes_under_way_when_their_node_dies_some_land_later_and_none_is_answered() -> None:  # A3, S6.2
    outcomes: Counter[str] = Counter()
    for seed in SEEDS:
        bench = Bench(seed=seed)
        machine = bench.machines[0]
        machine.write(BEAT, ONE)
        machine.stack = None  # its power is gone
        machine.life += 1
        bench.run(20)
        early = bench.sector(0, BEAT) == ONE
        bench.run(8000)
        landed = bench.sector(0, BEAT) == ONE
        assert machine.answers == []
        assert bench.outcomes(0) == ([ledger.HELD, ledger.LANDED] if landed else [ledger.DROPPED])
        outcomes["early" if early else "late" if landed else "never"] += 1
    assert outcomes["late"] > 5, outcomes
    assert outcomes["never"] > 5, outcomes


def test_a_fence_ends_the_writes_of_the_dead_as_well() -> None:  # S6.2, A3
    aborted = 0
    for seed in SEEDS:
        bench = registered(Bench(seed=seed))
        victim, owner = bench.machines[:2]
        victim.write(COMMIT, ONE + ONE)
        victim.stack = None
        bench.run(20)
        before = bench.sector(0, COMMIT)
        owner.out(pr.PREEMPT_AND_ABORT, key_of(1, 1), key_of(0, 1))
        owner.answered()
        aborted += ledger.ABORTED in bench.outcomes(0)
        bench.run(10_000)
        assert bench.sector(0, COMMIT) == before
    assert aborted > 5


def test_a_command_that_fails_is_done_or_not_and_nobody_is_told_which() -> None:  # S3.2, S6.2
    done: Counter[tuple[str, bool]] = Counter()
    for seed in SEEDS:
        bench = Bench(seed=seed)
        machine = bench.machines[0]
        bench.disk.error_share[0] = 1.0
        assert not bench.disk.whole
        machine.write(BEAT, ONE)
        assert machine.answered() == WriteDone(1, False)
        machine.out(pr.REGISTER_AND_IGNORE_EXISTING_KEY, 0, key_of(0, 1))
        assert machine.answered() == ScsiDone(2, pr.NO_ANSWER)
        machine.read(3)
        assert machine.answered() == ReadDone(3, False, b"")
        assert set(bench.outcomes(0)) <= {ledger.FAILED, ledger.DONE}
        done["write", bench.sector(0, BEAT) == ONE] += 1
        done["register", bool(bench.disk.state.keys)] += 1
    assert min(done[what, was] for what in ("write", "register") for was in (True, False)) > 5, done


def test_a_machine_that_stands_has_sent_a_command_or_sends_it_when_it_goes_on() -> None:  # A1, S10.5
    kept = 0
    for seed in SEEDS:
        bench = Bench(seed=seed)
        machine = bench.machines[0]
        machine.frozen = []
        machine.write(BEAT, ONE)
        bench.run(1000)
        assert bench.sector(0, BEAT) != ONE or machine.frozen == []
        if machine.frozen:
            kept += 1
            waiting, machine.frozen = machine.frozen, None
            for action, arguments in waiting:
                action(*arguments)
            assert bench.sector(0, BEAT) == ONE
    assert 5 < kept < len(SEEDS) - 5


def test_rates_of_unit_attentions_and_slow_commands_are_what_the_options_say() -> None:  # S10.9
    bench = Bench(attention_share=200, slow_share=500, slow_ms_max=200, latency_us_max=100)
    machine = bench.machines[0]
    slow = told = 0
    for _ in range(400):
        before = bench.queue.now_us
        machine.keys()
        while not machine.answers:
            bench.run(1)
        slow += bench.queue.now_us - before > 2000
        done = machine.answers.pop()
        assert isinstance(done, ScsiDone)
        assert done.status == 0 or done.sense_key == UNIT_ATTENTION
        told += done.status != 0
    assert 40 < told < 120
    assert 150 < slow < 250
