"""The mode without a fence at the disk: a node that was forced out ends by itself, in time if it can (spec S6.5)."""

from __future__ import annotations

import pytest

from guestd.core.config import Config
from guestd.core.effects import WriteSectors
from guestd.membership import layout
from tests.unit.guestd_world import World


@pytest.fixture
def world() -> World:
    world = World()
    world.config = Config(world.config.cluster_id, "demo", 3, world.config.timing, fence="panic")
    world.power_on()
    world.run_until(world.all_joined)
    return world


def recovers(world: World, *nodes: int) -> list[dict[str, object]]:
    """What subsystems above the membership manager were told of a forced leave."""
    return [
        event
        for node in nodes
        for event in world.events(node, "notified")
        if event["transition"] == "forced-leave" and event["level"] > 0
    ]


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_nothing_is_recovered_before_the_victim_has_had_time_to_panic(world: World, victim: int) -> None:  # S6.5
    others = [node for node in range(3) if node != victim]
    world.isolate(victim)
    world.run_until(lambda: world.machines[victim].panics)
    assert not recovers(world, *others)
    took_ms = world.run_until(lambda: recovers(world, *others))
    assert took_ms >= world.config.timing.hold_ms - world.config.timing.disk_heartbeat_ms - 50
    world.run_until(lambda: world.all_joined(*others))


@pytest.mark.parametrize("victim", [0, 2])
def test_a_node_that_sees_neither_disk_nor_others_ends_before_anything_is_done_in_its_place(  # S6.5
    world: World, victim: int
) -> None:
    others = [node for node in range(3) if node != victim]
    world.isolate(victim)
    world.disk_hung.add(victim)
    world.run_until(lambda: world.machines[victim].panics)
    assert world.events(victim, "panic")[0]["cause"] == "lease-ran-out"
    assert not recovers(world, *others)


def test_a_successor_of_the_master_waits_anew(world: World) -> None:  # S6.5, S3.3
    world.power_off(2)
    world.run_until(lambda: world.view.epoch == 2)
    world.power_off(0)
    world.run_until(lambda: world.view.epoch == 3)
    assert world.run_until(lambda: recovers(world, 1)) >= world.config.timing.hold_ms


def test_a_pause_that_is_allowed_for_does_no_harm(world: World) -> None:  # S6.5
    timing = world.config.timing
    world.freeze(2)
    world.run_until(lambda: world.view.epoch == 2)
    world.run(timing.settle_ms // 2)
    world.thaw(2)
    world.run_until(lambda: world.machines[2].panics, within_ms=timing.heartbeat_ms)
    assert not recovers(world, 0, 1)


def test_its_limit_a_longer_pause_and_the_stale_write_is_accepted(world: World) -> None:  # S6.5
    """What the disk's own fence is for: nobody tells a paused node the time, and nothing refuses its write."""
    world.freeze(2)
    world.run_until(lambda: recovers(world, 0))
    before = bytes(world.disk)
    lba = layout.region_lba(2, layout.HEARTBEAT_SECTOR)
    done = world.device.execute(2, WriteSectors(1, lba, b"stale".ljust(512)))
    assert done is not None
    assert bytes(world.disk) != before
    world.thaw(2)
    world.run_until(lambda: world.machines[2].panics)


def test_without_a_fence_all_panic_who_lose_the_disk(world: World) -> None:  # S6.5: S5.3 is the disk's fence's
    world.disk_hung |= {0, 1, 2}
    world.run_until(lambda: all(machine.panics for machine in world.machines))
    assert {world.events(node, "panic")[0]["cause"] for node in range(3)} == {"lease-ran-out"}


def test_a_healthy_cluster_renews_its_leases(world: World) -> None:
    world.run(600_000)
    assert world.all_joined()
    assert world.view.epoch == 1
