"""Every record of the membership database, damaged in every way, and then nodes boot (S2.5).

A node goes on and counts a missed read, or it is refused with the reason. It never overwrites what it must not: what
belongs to another version, to another node, or to the persistent part; a refused node writes nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guestd.core.config import Config
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
        for name, first in (
            ("ballot", layout.BALLOT_SECTOR),
            ("commit", layout.COMMIT_SECTOR),
            ("match", layout.MATCH_SECTOR),
        )
        for which, copies in (("copy 1", [0]), ("copy 2", [1]), ("both copies", [0, 1]))
    },
}
ACTIVE = [place for place in PLACES if place.startswith(("heartbeat", "ballot", "commit", "match"))]


def modes(places: list[str]) -> list[tuple[str, str]]:
    """(place, mode): everything in mode `paxos`; in mode `dekker` what is there in its own way."""
    return [
        *((place, "paxos") for place in places if not place.startswith("match")),
        *((place, "dekker") for place in places if place.startswith(("header", "heartbeat", "match", "commit"))),
    ]


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


def ran(election: str = "paxos") -> World:
    """Three nodes have joined, of which 2 was the first: it has written records of every kind, and is the master."""
    world = World(nodes=3, seed=2, election=election)  # with which they read the disk at different times
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
@pytest.mark.parametrize(("place", "election"), modes([*PLACES]))
def test_a_node_that_boots_among_others_goes_on_or_is_refused_with_the_reason(  # S2.5
    place: str, election: str, how: str
) -> None:
    world = ran(election)
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
@pytest.mark.parametrize(("place", "election"), modes([*PLACES]))
def test_after_a_power_failure_all_boot_and_go_on_or_are_refused_with_the_reason(  # S2.5
    place: str, election: str, how: str
) -> None:
    world = ran(election)
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
@pytest.mark.parametrize(("place", "election"), modes(ACTIVE))
def test_a_living_cluster_counts_the_damaged_record_of_a_member_and_goes_on(  # S2.5
    place: str, election: str, how: str
) -> None:
    world = ran(election)
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


@pytest.mark.parametrize(("told", "written"), [("paxos", "dekker"), ("dekker", "paxos")])
def test_a_machine_that_was_told_another_election_than_the_disk_is_refused_and_writes_nothing(  # S2.2, S3.2
    told: str, written: str
) -> None:
    """Two modes side by side would have no contest between them. The disk may be new, or have been used."""
    used = ran(written)
    used.power_off()
    fresh = World(nodes=3, election=written)
    for world in (used, fresh):
        config = world.config
        world.config = Config(config.cluster_id, config.cluster, 3, config.timing, election=told)
        before = bytes(world.disk)
        epochs = dict(world.masters)
        world.power_on()
        world.run(5000)
        for node in range(3):
            assert world.machines[node].exits == [2]
            assert world.events(node, "refused")[-1]["reason"] == (
                f'membership database: its epochs are decided with election = "{written}", '
                f'this machine is configured for "{told}"'
            )
        assert world.disk == before
        assert world.masters == epochs


def test_one_machine_that_was_told_another_election_does_the_others_no_harm() -> None:  # S3.2
    world = World(nodes=3, election="dekker")
    config = world.config
    world.config = Config(config.cluster_id, config.cluster, 3, config.timing, election="paxos")
    world.power_on(0)
    world.config = config
    world.power_on(1, 2)
    world.run_until(lambda: world.all_joined(1, 2))
    assert world.machines[0].exits == [2]
    assert world.all_joined(1, 2)


def test_a_disk_of_before_there_was_a_choice_is_one_of_mode_paxos() -> None:  # S2.2
    world = World(nodes=3)
    for copy in range(layout.COPIES):
        found = unseal(ID, layout.RECORD_HEADER, 255, sector(world, layout.header_offset(copy)))
        assert found is not None
        assert found.body[36] == 0
    assert not any(sector(ran(), PLACES["match, both copies"][0]))


def test_an_election_of_a_later_software_is_not_taken_for_one_of_this() -> None:  # S2.2, S2.5
    world = World(nodes=3)
    for copy in range(layout.COPIES):
        offset = layout.header_offset(copy)
        found = unseal(ID, layout.RECORD_HEADER, 255, sector(world, offset))
        assert found is not None
        header = seal(ID, layout.RECORD_HEADER, 255, 1, found.body[:36] + b"\x02")
        start = layout.DATABASE_OFFSET + offset
        world.disk[start : start + SECTOR_SIZE] = header
    world.power_on()
    world.run(2000)
    assert "says election 2 (legal: 0 to 1)" in world.events(0, "refused")[0]["reason"]


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


TRACES = [("paxos", "heartbeat"), ("paxos", "ballot"), ("dekker", "heartbeat"), ("dekker", "match")]


@pytest.mark.parametrize(("election", "trace"), TRACES)
def test_with_the_membership_lost_any_other_trace_keeps_epochs_from_coming_twice(  # S2.6
    election: str, trace: str
) -> None:
    world = ran(election)
    world.power_off()
    epoch = max(world.masters)
    damage(world, "commit, both copies", "torn")
    for node in range(3):
        start = layout.DATABASE_OFFSET + layout.REGIONS_OFFSET + node * layout.REGION_SIZE
        if trace != "heartbeat":
            world.disk[start : start + SECTOR_SIZE] = bytes(SECTOR_SIZE)  # every heartbeat
        else:
            block = layout.BALLOT_SECTOR if election == "paxos" else layout.MATCH_SECTOR
            first = start + block * SECTOR_SIZE
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
