"""The machines of the simulator: power, freezes of both kinds, slow processors, clocks, doom (`hil/sim/nodes.py`).

On whole simulated clusters of real stacks, quiet ones; what is done to one node is all that happens.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from guestd.core.inputs import Datagram, Input, Tick
from hil.sim import speed
from hil.sim.nodes import Freeze, Node
from hil.sim.options import draw
from hil.sim.world import BOOT_US_MIN, World

DEATH_MS = 1200


@pytest.fixture(autouse=True)
def fast() -> Any:
    with speed.installed():
        yield


def joined(nodes: int = 3, **changes: Any) -> World:
    """A cluster that has come together."""
    world = World(replace(draw(1, "performance", nodes), **changes))
    world.begin()
    until_joined(world)
    return world


def until_joined(world: World, seconds: int = 30) -> None:
    for _ in range(seconds * 10):
        if world.why_not_converged() is None:
            return
        run(world, 100)
    raise AssertionError(world.why_not_converged())


def run(world: World, ms: int) -> None:
    world.queue.run_until(world.queue.now_us + ms * 1000)


def taken(world: World, node: Node) -> list[tuple[int, int, Input]]:
    """From now on: what its stack takes in, at which time of the world (µs) and of its own clock (ms)."""
    found: list[tuple[int, int, Input]] = []
    stack = node.stack
    assert stack is not None
    handle = stack.handle

    def watched(given: Input, now_ms: int) -> Any:
        found.append((world.queue.now_us, now_ms, given))
        return handle(given, now_ms)

    stack.handle = watched  # type: ignore[method-assign]
    return found


def test_who_loses_power_has_forgotten_everything_and_comes_back_as_another_life() -> None:  # S2.6, S4.10, S10.5
    world = joined()
    node = world.nodes[1]
    before = node.stack
    node.power_off()
    assert node.stack is None
    run(world, 2 * DEATH_MS)
    newest = next(one.stack for one in world.nodes if one.stack is not None)
    assert newest.member.view.entries[1].state.value == "inactive"
    node.power_on()
    assert node.stack is not before
    until_joined(world)
    assert (node.life, newest.member.view.entries[1].incarnation) == (2, 2)


def test_a_machine_on_which_guestd_has_ended_stands_until_somebody_switches_it_on() -> None:  # S4.9, S6.1
    world = joined()
    world.operator_boots = False
    world.nodes[1].order("panic")
    world.nodes[2].order("leave")
    run(world, 20_000)
    assert [node.stack is not None for node in world.nodes] == [True, False, False]
    assert (len(world.nodes[1].panics), world.nodes[2].exits) == (1, [0])
    world.nodes[1].power_on()
    world.nodes[2].power_on()
    until_joined(world)


@pytest.mark.parametrize("how", Freeze)
def test_what_comes_during_a_freeze_is_taken_in_afterwards_but_for_the_ticks(how: Freeze) -> None:  # S10.5, A1
    world = joined()
    node = world.nodes[1]
    inputs = taken(world, node)
    node.freeze(how, drops=False)
    run(world, 500)
    assert inputs == []
    node.thaw()
    assert inputs[-1][2] == Tick()
    assert sum(isinstance(one, Tick) for _, _, one in inputs) == 1  # late ones are not made up for
    assert sum(isinstance(one, Datagram) for _, _, one in inputs) >= 8  # of two others, in five periods
    assert {at for at, _, _ in inputs} == {world.queue.now_us}


def test_a_freeze_of_the_process_lets_the_clock_jump_and_one_of_the_processors_does_not() -> None:  # S10.5, A1
    gone_ms = {}
    for how in Freeze:
        world = joined()
        node = world.nodes[1]
        inputs = taken(world, node)
        run(world, 300)
        before = inputs[-1]
        node.freeze(how, drops=True)
        run(world, 700)
        node.thaw()
        after = inputs[-1]
        gone_ms[how] = (after[1] - before[1]) - (after[0] - before[0]) / 1000
    assert gone_ms[Freeze.PROCESS] == pytest.approx(0, abs=2)
    assert gone_ms[Freeze.VCPU] == pytest.approx(-700, abs=2)


def test_a_freeze_may_drop_what_comes_and_keeps_no_more_than_a_socket_holds() -> None:  # S10.5
    world = joined()
    for drops, kept in ((True, 0), (False, 200)):
        node = world.nodes[1]
        node.freeze(Freeze.PROCESS, drops=drops)
        for _ in range(250):
            node.give(node.life, Datagram(b"from anybody"))
        assert len(node.frozen or []) == kept
        node.thaw()


def test_who_stood_for_too_long_finds_itself_forced_out_and_panics() -> None:  # S6.1, A1
    world = joined()
    world.operator_boots = False
    node = world.nodes[1]
    node.freeze(Freeze.PROCESS, drops=False)
    run(world, 3 * DEATH_MS)
    node.thaw()
    run(world, 100)
    assert node.stack is None
    assert len(node.panics) == 1


def test_power_lost_while_it_stands_ends_what_was_kept() -> None:  # A1
    world = joined()
    node = world.nodes[1]
    node.freeze(Freeze.PROCESS, drops=False)
    run(world, 300)
    node.power_off()
    node.thaw()
    assert node.stack is None
    assert node.frozen is None


def test_on_a_slow_processor_inputs_take_their_time_and_queue_up_in_their_order() -> None:  # S4.13, A22
    world = joined()
    node = world.nodes[1]
    inputs = taken(world, node)
    node.slow(20_000)
    run(world, 1000)
    times = [at for at, _, _ in inputs]
    assert all(later - earlier >= 20_000 for earlier, later in pairwise(times))
    waiting = len(node._inbox)
    before = len(inputs)
    node.slow(0)
    assert waiting > 0
    assert len(inputs) == before + waiting  # what waited is done at once
    run(world, 300)
    until_joined(world)


def test_a_clock_that_runs_fast_or_slow_moves_its_periods_with_it() -> None:  # A19
    world = joined(drift_ppm_max=100_000)
    watched = [taken(world, node) for node in world.nodes]
    run(world, 10_000)
    rates = []
    for inputs in watched:
        ticks = [(at, now_ms) for at, now_ms, one in inputs if isinstance(one, Tick)]
        (first_us, first_ms), (last_us, last_ms) = ticks[0], ticks[-1]
        rates.append((last_ms - first_ms) / (last_us - first_us) * 1000)
        assert (last_ms - first_ms) / (len(ticks) - 1) == pytest.approx(100, abs=2)  # by its own clock
    assert max(rates) - min(rates) > 0.01
    assert all(0.9 <= rate <= 1.1 for rate in rates)


@pytest.mark.parametrize("moments", range(6))
def test_a_doomed_node_does_so_many_things_that_others_see_and_half_of_the_next(moments: int) -> None:  # A2, S3.3
    world = joined()
    world.operator_boots = False
    doomed = world.nodes[world.nodes[0].stack.member.view.master]  # type: ignore[union-attr]
    sent: Counter[str] = Counter()
    send, submit = world.network.send, world.disk.submit

    def sending(sender: int, payload: bytes, only: int = -1) -> None:
        sent["datagrams"] += sender == doomed.number
        sent["cut short"] += only != -1
        send(sender, payload, only)

    def submitting(node: Node, command: Any) -> None:
        sent["commands"] += node is doomed and type(command).__name__ != "ReadSectors"
        submit(node, command)

    world.network.send, world.disk.submit = sending, submitting  # type: ignore[method-assign]
    doomed.doom = moments
    run(world, 3000)
    assert doomed.stack is None
    assert sent["datagrams"] + sent["commands"] == moments + 1
    assert sent["cut short"] <= 1
    run(world, 20_000)
    others = [one for one in world.nodes if one is not doomed]
    assert all(one.stack is not None and one.stack.member.view.master != doomed.number for one in others)


def test_no_machine_boots_sooner_after_its_end_than_a_command_is_on_its_way() -> None:  # S6.3
    world = joined(boot_ms_max=800)
    node = world.nodes[1]
    for _ in range(20):  # somebody sees that it is off, again and again
        node.power_off()
        world.boot_later(node)
        run(world, 100)
    node.power_on()
    ended_us = world.queue.now_us
    node.power_off()
    world.boot_later(node)
    while node.stack is None:
        run(world, 1)
    assert world.queue.now_us - ended_us >= BOOT_US_MIN


def test_an_input_for_an_earlier_life_is_nobodys() -> None:  # S2.6
    world = joined()
    node = world.nodes[1]
    node.power_off()
    node.power_on()
    inputs = taken(world, node)
    node.give(1, Datagram(b""))
    node.give(2, Datagram(b""))
    assert [given for _, _, given in inputs] == [Datagram(b"")]
