"""Two machines that were given one node id: the later one is refused, the earlier one notices nothing (A16)."""

from __future__ import annotations

import pytest

from guestd.core.config import Config
from guestd.core.context import Context
from guestd.core.timing import Timing
from guestd.membership.datagram import Say
from guestd.membership.duplicate import DuplicateWatch, watch_ms
from tests.unit.guestd_world import World

SEEDS = range(12)
# Ticks fall so that a heartbeat is written every 600 ms: one period of watching does not always see one.
TIMING = Timing(heartbeat_ms=300, disk_heartbeat_ms=500, death_ms=4000, settle_ms=700)


def formed(seed: int, *nodes: int) -> World:
    world = World(nodes=3, seed=seed, timing=TIMING)
    world.power_on(*nodes)
    world.run_until(lambda: world.all_joined(*nodes))
    world.run(world.random.randint(0, 2000))  # so that the second machine begins anywhere in the periods of the first
    return world


def refusals(world: World, machine: int) -> list[str]:
    return [event["reason"] for event in world.events(machine, "refused")]


def writes_of(world: World, machine: int) -> list[int]:
    """The block addresses that a machine writes, from now on."""
    written: list[int] = []
    check = world._check_write

    def note(node: int, effect: object) -> None:
        if node == machine:
            written.append(effect.lba)  # type: ignore[attr-defined]
        check(node, effect)  # type: ignore[arg-type]

    world._check_write = note  # type: ignore[method-assign]
    return written


def nothing_happened(world: World, *nodes: int) -> bool:
    """To the cluster of these nodes, for ten seconds."""
    order = world.view.order
    world.run(10_000)
    return world.all_joined(*nodes) and world.view.order == order and not any(m.panics for m in world.machines)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_second_machine_with_a_node_id_is_refused_and_writes_nothing(seed: int) -> None:  # A16
    world = formed(seed, 0, 1, 2)
    second = world.add_machine(1)
    written = writes_of(world, second)
    world.power_on(second)
    took_ms = world.run_until(lambda: world.machines[second].exits)
    assert took_ms <= world.config.timing.disk_heartbeat_ms
    assert world.machines[second].exits == [2]
    assert refusals(world, second)[0].startswith("another machine runs as node 1: it ")
    assert written == []
    assert nothing_happened(world, 0, 1, 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_interconnect_the_second_machine_sees_it_on_the_disk(seed: int) -> None:  # A16
    world = formed(seed, 0, 1, 2)
    second = world.add_machine(1)
    world.isolate(second)
    written = writes_of(world, second)
    world.power_on(second)
    world.run_until(lambda: world.machines[second].exits, within_ms=3000)
    assert "its heartbeat on the disk moves (incarnation 1, " in refusals(world, second)[0]
    assert written == []
    assert nothing_happened(world, 0, 1, 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_first_machine_may_be_the_only_one(seed: int) -> None:  # A16
    world = formed(seed, 1)
    second = world.add_machine(1)
    world.power_on(second)
    world.run_until(lambda: world.machines[second].exits)
    assert refusals(world, second)
    assert nothing_happened(world, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_only_machine_stays_the_only_one_without_interconnect_too(seed: int) -> None:  # A16
    world = formed(seed, 1)
    second = world.add_machine(1)
    world.isolate(second)
    world.power_on(second)
    world.run_until(lambda: world.machines[second].exits, within_ms=5000)
    assert refusals(world, second)
    assert nothing_happened(world, 1)


@pytest.mark.parametrize("cut", [False, True], ids=["heard", "not heard"])
@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_machines_that_begin_together_one_joins(seed: int, *, cut: bool) -> None:  # A16
    world = World(nodes=3, seed=seed)
    second = world.add_machine(1)
    if cut:
        world.cut |= {(1, second), (second, 1)}
    world.power_on(0, 1, 2, second)
    world.run_until(lambda: world.machines[1].exits or world.machines[second].exits)
    assert world.machines[1].exits + world.machines[second].exits == [2]
    world.run(10_000)
    assert world.view.live() == [0, 1, 2]
    assert not any(machine.panics for machine in world.machines)


def delay(world: World, node: int) -> int:
    """How long after power on a node has its incarnation (ms)."""
    known = len(world.events(node, "incarnation"))
    world.power_on(node)
    return world.run_until(lambda: world.events(node, "incarnation")[known:])


@pytest.mark.parametrize("fence", ["scsi", "panic"])
def test_a_boot_is_slower_only_after_a_life_that_did_not_end_and_by_one_period_at_most(fence: str) -> None:
    """With a fence at the disk not even then: whoever can end its earlier life under its key is on the same path."""
    world = World(nodes=3, seed=1)
    world.config = Config(world.config.cluster_id, "demo", 3, world.config.timing, fence=fence)
    quick_ms = delay(world, 2)
    assert quick_ms < 100
    world.power_on(0, 1)
    world.run_until(world.all_joined)
    world.power_off()  # a power failure: the disk says that all are joined
    least_ms = watch_ms(world.config.timing) if fence == "panic" else 0
    assert least_ms <= delay(world, 2) <= least_ms + 4 * quick_ms
    world.run_until(lambda: world.all_joined(2))
    world.order(2, "leave")
    world.run_until(lambda: world.machines[2].exits)
    assert delay(world, 2) < 100


def test_a_node_that_was_forced_out_comes_back_without_a_watch() -> None:
    world = formed(3, 0, 1, 2)
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    assert delay(world, 2) < 100
    world.run_until(world.all_joined)


@pytest.mark.parametrize(
    ("heard", "this", "refused"),
    [
        ((1, 9), (0, 0), True),  # this machine has not spoken yet
        ((1, 9), (2, 40), True),  # the life before still speaks
        ((2, 9), (2, 8), True),  # both have this life; this one is behind
        ((2, 9), (2, 9), False),  # its own datagram, come back
        ((2, 9), (2, 40), False),  # one of its own that was late, or the other one is behind
        ((3, 9), (2, 8), False),  # the later one will see
    ],
)
def test_a_datagram_with_the_own_node_id_is_another_machines_if_this_one_cannot_have_sent_it(
    heard: tuple[int, int], this: tuple[int, int], *, refused: bool
) -> None:  # A16
    watch = DuplicateWatch(Context(Config(bytes(16), "demo", 3), 1))
    watch.heard(Say(0, *heard, 0, "none", (), None), *this)
    assert watch.reason is None  # another node's
    watch.heard(Say(1, *heard, 0, "none", (), None), *this)
    assert (watch.reason is not None) == refused
