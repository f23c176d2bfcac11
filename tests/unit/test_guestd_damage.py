"""Every record of the membership database, damaged in every way, and then nodes boot (S2.5).

A node goes on and counts a missed read, or it is refused with the reason. It never overwrites what it must not: what
belongs to another version, to another node, or to the persistent part; a refused node writes nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guestd.membership import layout, persistent
from guestd.membership.sector import SECTOR_SIZE, seal, unseal
from tests.unit.guestd_world import CLUSTER_ID, World
from tests.unit.test_guestd_records import of_version

ID = bytes.fromhex(CLUSTER_ID)
OTHER = bytes(range(16))
NODE = 2  # whose records are damaged
REGION = layout.REGIONS_OFFSET + NODE * layout.REGION_SIZE

PLACES: dict[str, list[int]] = {
    "header, copy 1": [layout.header_offset(0)],
    "header, copy 2": [layout.header_offset(1)],
    "header, both copies": [layout.header_offset(0), layout.header_offset(1)],
    "configuration, copy 1": [layout.configuration_offset(NODE, 0)],
    "configuration, copy 2": [layout.configuration_offset(NODE, 1)],
    "configuration, both copies": [layout.configuration_offset(NODE, copy) for copy in (0, 1)],
    "heartbeat": [REGION + layout.HEARTBEAT_SECTOR * SECTOR_SIZE],
    **{
        f"{name}, {which}": [REGION + (first + copy) * SECTOR_SIZE for copy in copies]
        for name, first in (("ballot", layout.BALLOT_SECTOR), ("commit", layout.COMMIT_SECTOR))
        for which, copies in (("copy 1", [0]), ("copy 2", [1]), ("both copies", [0, 1]))
    },
}
ACTIVE = [place for place in PLACES if place.startswith(("heartbeat", "ballot", "commit"))]


def zeroed(_old: bytes, _new: bytes) -> bytes:
    return bytes(SECTOR_SIZE)


def torn(old: bytes, new: bytes) -> bytes:
    return new[:256] + old[256:]


def foreign(old: bytes, _new: bytes) -> bytes:
    found = unseal(ID, old[5], old[6], old)
    assert found is not None
    return seal(OTHER, old[5], old[6], found.sequence, found.body)


def future(old: bytes, _new: bytes) -> bytes:
    return of_version(3, old)


DAMAGES: dict[str, tuple[Callable[[bytes, bytes], bytes], str]] = {
    "zeroed": (zeroed, "was never written"),
    "torn": (torn, "the checksum does not match"),
    "foreign": (foreign, f"belongs to the cluster {OTHER.hex()}"),
    "future": (future, "has format version 3, this software reads and writes version 2"),
}


def newer(old: bytes) -> bytes:
    """A later write of the same record, which says something else everywhere."""
    found = unseal(ID, old[5], old[6], old)
    assert found is not None
    return seal(ID, old[5], old[6], found.sequence + 1, bytes(byte ^ 0x5A for byte in found.body))


def sector(world: World, offset: int) -> bytes:
    start = layout.DATABASE_OFFSET + offset
    return bytes(world.disk[start : start + SECTOR_SIZE])


def damage(world: World, place: str, how: str) -> dict[int, bytes]:
    """Damage these sectors; what stands there now, by offset."""
    found = {}
    for offset in PLACES[place]:
        old = sector(world, offset)
        assert any(old), "it must have been written for this test to say anything"
        found[offset] = DAMAGES[how][0](old, newer(old))
        assert found[offset] != old
        start = layout.DATABASE_OFFSET + offset
        world.disk[start : start + SECTOR_SIZE] = found[offset]
    world._view = None  # what it knows of the disk
    return found


def ran(seed: int = 1) -> World:
    """Three nodes have joined, of which 2 was the first: it has written records of every kind, and is the master."""
    world = World(nodes=3, seed=seed)
    world.power_on(NODE)
    world.run_until(lambda: world.all_joined(NODE))
    world.power_on(0, 1)
    world.run_until(world.all_joined)
    world.run(20_000)
    return world


def refused(place: str, how: str) -> bool:
    return how == "future" or (place.endswith("both copies") and place not in ACTIVE)


def check_persistent_part(world: World, before: bytes) -> None:
    assert world.disk[: layout.DATABASE_OFFSET + layout.REGIONS_OFFSET] == before


def persistent_part(world: World) -> bytes:
    return bytes(world.disk[: layout.DATABASE_OFFSET + layout.REGIONS_OFFSET])


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("place", PLACES)
def test_a_node_that_boots_among_others_goes_on_or_is_refused_with_the_reason(place: str, how: str) -> None:  # S2.5
    world = ran()
    world.power_off(NODE)
    world.run_until(lambda: world.all_joined(0, 1))
    damaged = damage(world, place, how)
    persistent_before = persistent_part(world)
    world.power_on(NODE)
    why = DAMAGES[how][1]
    if refused(place, how):
        world.run(10_000)
        assert world.machines[NODE].exits == [2]
        assert why in world.events(NODE, "refused")[-1]["reason"]
        assert {offset: sector(world, offset) for offset in damaged} == damaged
        assert world.all_joined(0, 1)
    else:
        world.run_until(world.all_joined, within_ms=10_000)
        assert not world.events(NODE, "refused")
        told = [event for event in world.events(NODE, "damaged") if why in event["why"]]
        # An active record that is all zeros cannot be told from one that was never written.
        assert bool(told) == (how != "zeroed" or place not in ACTIVE)
        assert world.status(NODE)["damaged_count"] >= len(told)
    check_persistent_part(world, persistent_before)
    assert not any(machine.panics for machine in world.machines)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("place", PLACES)
def test_after_a_power_failure_all_boot_and_go_on_or_are_refused_with_the_reason(place: str, how: str) -> None:  # S2.5
    world = ran()
    world.power_off()
    damaged = damage(world, place, how)
    epoch = max(world.masters)
    disk = bytes(world.disk)
    world.power_on()
    why = DAMAGES[how][1]
    if refused(place, how):
        # Somebody else's configuration is not read.
        nodes = [NODE] if place.startswith("configuration") else [0, 1, 2]
        others = [node for node in range(3) if node not in nodes]
        world.run(20_000)
        for node in nodes:
            assert world.machines[node].exits == [2]
            assert why in world.events(node, "refused")[-1]["reason"]
        assert {offset: sector(world, offset) for offset in damaged} == damaged
        if others:
            assert world.all_joined(*others)
        else:
            assert world.disk == disk  # nobody has written anything
    else:
        world.run_until(world.all_joined, within_ms=20_000)
        assert world.view.epoch > epoch  # nor did any epoch come twice
    check_persistent_part(world, disk[: len(persistent_part(world))])
    assert not any(machine.panics for machine in world.machines)


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("place", ACTIVE)
def test_a_living_cluster_counts_the_damaged_record_of_a_member_and_goes_on(place: str, how: str) -> None:  # S2.5
    world = ran()
    order = world.view.order
    heartbeat = sector(world, PLACES["heartbeat"][0])
    world.run_until(lambda: sector(world, PLACES["heartbeat"][0]) != heartbeat)  # the next one is a period away
    damage(world, place, how)
    world.run(5000)
    why = DAMAGES[how][1]
    for node in (0, 1):
        told = [event for event in world.events(node, "damaged") if why in event["why"]]
        assert bool(told) == (how != "zeroed")
    assert {world.state(node) for node in range(3)} == {"joined"}
    assert not any(machine.panics for machine in world.machines)
    if place != "commit, both copies":
        assert world.view.order == order
    # And after it, the cluster can still change.
    world.power_off(1)
    world.run_until(lambda: world.all_joined(0, 2))
    assert world.view.epoch > order[0]


def test_a_machine_whose_cluster_file_does_not_match_the_disk_is_refused_and_writes_nothing() -> None:  # S2.2
    for nodes, cluster_id, why in (
        (4, CLUSTER_ID, "it is of the cluster demo with 4 nodes, this machine is configured for demo with 3"),
        (3, "ab" * 16, f"belongs to the cluster {'ab' * 16}"),
    ):
        world = World(nodes=3)
        world.disk[layout.DATABASE_OFFSET :] = persistent.format_database(cluster_id, "demo", nodes)
        before = bytes(world.disk)
        world.power_on()
        world.run(5000)
        for node in range(3):
            assert world.machines[node].exits == [2]
            assert why in world.events(node, "refused")[0]["reason"]
        assert world.disk == before


@pytest.mark.parametrize("trace", ["heartbeat", "ballot"])
def test_with_the_membership_lost_any_other_trace_keeps_epochs_from_coming_twice(trace: str) -> None:  # S2.6
    world = ran()
    world.power_off()
    epoch = max(world.masters)
    damage(world, "commit, both copies", "torn")
    for node in range(3):
        start = layout.DATABASE_OFFSET + layout.REGIONS_OFFSET + node * layout.REGION_SIZE
        if trace == "ballot":
            world.disk[start : start + SECTOR_SIZE] = bytes(SECTOR_SIZE)  # every heartbeat
        else:
            first = start + layout.BALLOT_SECTOR * SECTOR_SIZE
            world.disk[first : first + layout.COPIES * SECTOR_SIZE] = bytes(layout.COPIES * SECTOR_SIZE)
    world.power_on()
    world.run_until(world.all_joined, within_ms=20_000)
    assert world.view.epoch > epoch


def test_a_life_whose_only_record_is_damaged_is_counted_all_the_same() -> None:  # S2.6, A17
    """It was never admitted, so nothing but its heartbeat names it, and its key (found by the simulator)."""
    world = World()
    world.power_on()
    world.run_until(world.all_joined)
    world.power_off(NODE)
    world.isolate(NODE)
    world.power_on(NODE)
    world.run(3000)
    world.power_off(NODE)
    start = layout.DATABASE_OFFSET + REGION + layout.HEARTBEAT_SECTOR * SECTOR_SIZE
    world.disk[start + 100] ^= 1
    world.cut.clear()
    world.power_on(NODE)
    world.run_until(world.all_joined, within_ms=5000)
    assert [one["incarnation"] for one in world.events(NODE, "incarnation")] == [1, 2, 3]
