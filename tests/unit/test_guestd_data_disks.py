"""Several LUNs: LUN 0 has the membership database and is fenced first, then each further one (spec S6, A18)."""

from __future__ import annotations

from typing import Any

import pytest

from guestd.core.effects import ScsiCommand, WriteSectors
from guestd.core.inputs import ScsiDone, WriteDone
from guestd.core.value import replace
from guestd.fence import persistent_reserve as pr
from guestd.fence.data_disks import DISK_STATES, DiskState
from guestd.fence.keys import key_of
from tests.unit.guestd_world import World
from tests.unit.reservable_disk import ReservableDisk

DATA_DISKS = 2
ELECTIONS = ("paxos", "dekker")


@pytest.fixture
def world() -> World:
    return World(data_disks=DATA_DISKS)


def formed(world: World) -> World:
    world.power_on()
    world.run_until(world.all_joined)
    return world


def keys(world: World) -> list[list[int]]:
    """Of every disk."""
    return [device.keys() for device in world.luns]


def lives(*numbers: tuple[int, int]) -> list[int]:
    return [key_of(*life) for life in numbers]


def actions(device: ReservableDisk, node: int) -> list[str]:
    return [what for who, what in device.commands if who == node]


def raw_write(device: ReservableDisk, node: int) -> WriteDone | None:
    """Of a program beside guestd, on that node."""
    done = device.execute(node, WriteSectors(-1, 4096, bytes([node + 1]) * 512, lun=device.lun))
    assert done is None or isinstance(done, WriteDone)
    return done


# -- a life begins, S6.3


def test_a_member_is_registered_on_every_disk_and_each_is_reserved(world: World) -> None:  # S6.3
    formed(world)
    assert keys(world) == [lives((0, 1), (1, 1), (2, 1))] * 3
    assert all(raw_write(device, 1) == WriteDone(-1, True) for device in world.luns[1:])
    for device in world.luns[1:]:  # of a machine that is none of the cluster's
        refused = raw_write(device, 9)
        assert refused is not None
        assert refused.conflict


def test_nothing_but_reservations_comes_to_a_data_disk(world: World) -> None:  # S3.2
    formed(world)
    world.power_off(0)
    world.run_until(lambda: world.all_joined(1, 2))
    for device in world.luns[1:]:
        assert {what.partition("-")[0] for _, what in device.commands} == {"read", "reserve"}
        assert "write" not in {what for _, what in device.commands}
        assert "read" not in {what for _, what in device.commands}  # READ KEYS, and nothing else


def test_what_an_earlier_life_has_queued_on_any_disk_is_aborted_before_the_next_one_begins() -> None:  # S6.3, A4
    world = formed(World(data_disks=DATA_DISKS))
    for device in world.luns[1:]:
        device.holding.add(2)
        assert raw_write(device, 2) is None
    world.power_off(2)
    world.power_on(2)
    world.run_until(lambda: [one for one in world.events(2, "incarnation") if one["incarnation"] == 2])
    assert all(len(device.aborted) == 1 and not device.held for device in world.luns[1:])
    told = [event.get("lun", 0) for event in world.events(2, "earlier-life-aborted")]
    assert told == [0, 1, 2]


def test_a_node_does_not_begin_before_every_disk_has_its_key(world: World) -> None:  # S6.3
    world.luns[2].broken.add(1)
    world.power_on()
    world.run_until(lambda: world.all_joined(0, 2))
    assert {"for": "LUN 2 of the shared disk"} in world.events(1, "waiting")
    world.run(5000)
    assert world.state(1) == "inactive"
    world.luns[2].broken.clear()
    world.run_until(world.all_joined)


def test_a_data_disk_that_takes_no_reservation_is_named(world: World) -> None:  # S6.5
    def answer(node: int, command: ScsiCommand) -> ScsiDone:
        if command.cdb[0] == 0x5E:
            return reserve(node, command)
        return ScsiDone(command.tag, pr.CHECK_CONDITION, sense_key=0x5)

    reserve = world.luns[1]._scsi
    world.luns[1]._scsi = answer  # type: ignore[method-assign]
    world.power_on(0)
    world.run_until(lambda: world.machines[0].exits)
    (refused,) = world.events(0, "refused")
    assert refused["reason"].startswith("LUN 1: the disk does not take a registration")


# -- the fence, S6.2


@pytest.mark.parametrize("election", ELECTIONS)
@pytest.mark.parametrize("victim", [0, 2])
def test_lun_0_is_fenced_first_then_each_data_disk_and_then_the_epoch_begins(election: str, victim: int) -> None:
    # S6.2, A18
    world = formed(World(election=election, data_disks=DATA_DISKS))
    order: list[int] = []
    for device in world.luns:
        _watch(device, order)
    world.power_off(victim)
    actor = 1 if victim == 0 else 0
    world.run_until(lambda: world.events(actor, "fenced"))
    assert world.view.epoch == 1, "nothing is committed before every disk is verified"
    assert order == [0, 1, 2]
    survivors = [(node, 1) for node in range(3) if node != victim]
    assert keys(world) == [lives(*survivors)] * 3
    assert world.events(actor, "fenced") == [{"subject": victim, "incarnation": 1}]
    assert [event.get("lun") for event in world.events(actor, "preempted")] == [None, 1, 2]
    world.run_until(lambda: world.all_joined(*(node for node, _ in survivors)))


def _watch(device: ReservableDisk, order: list[int]) -> None:
    execute = device._reserve

    def watched(node: int, command: ScsiCommand) -> tuple[int, bytes]:
        if (command.cdb[0], command.cdb[1] & 0x1F) == (0x5F, pr.PREEMPT_AND_ABORT):
            order.append(device.lun)
        return execute(node, command)

    device._reserve = watched  # type: ignore[method-assign]


@pytest.mark.parametrize("lun", [1, 2])
def test_a_write_that_a_data_disk_has_queued_never_lands_after_the_fence(world: World, lun: int) -> None:  # A3
    formed(world)
    device = world.luns[lun]
    device.holding.add(2)
    assert raw_write(device, 2) is None
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    assert device.let_go(2) == []
    assert bytes(device.data[4096 * 512 : 4097 * 512]) == bytes(512)


@pytest.mark.parametrize("lun", [1, 2])
def test_who_was_fenced_is_refused_by_every_disk(world: World, lun: int) -> None:  # S6.2, A1
    formed(world)
    world.freeze(2)
    world.run_until(lambda: world.all_joined(0, 1))
    refused = raw_write(world.luns[lun], 2)
    assert refused is not None
    assert refused.conflict
    world.thaw(2)
    world.run_until(lambda: world.machines[2].panics)


# -- the fence of one disk fails, A18


@pytest.mark.parametrize("election", ELECTIONS)
@pytest.mark.parametrize("lun", [0, 1, 2])
def test_while_one_disk_fails_to_fence_no_recovery_begins_and_it_is_tried_again(election: str, lun: int) -> None:  # A18
    world = formed(World(election=election, data_disks=DATA_DISKS))
    world.power_off(2)
    world.run_until(lambda: world.events(0, "silent"))
    world.luns[lun].broken = {0, 1} if lun else {0}
    world.run_until(lambda: world.events(0, "epoch-not-begun"))
    world.run(10_000)
    assert world.view.epoch == 1
    told = world.events(0, "epoch-not-begun")
    assert len(told) > 5, "it is tried again"
    assert {event["why"] for event in told} == {"the fence could not be verified" + (f" on LUN {lun}" if lun else "")}
    recovers = [one for node in (0, 1) for one in world.events(node, "notified") if one["transition"] == "forced-leave"]
    assert recovers == []
    assert [machine.panics for machine in world.machines] == [[], [], []]
    world.luns[lun].broken.clear()
    world.run_until(lambda: world.all_joined(0, 1))
    assert keys(world) == [lives((0, 1), (1, 1))] * 3


@pytest.mark.parametrize("lun", [1, 2])
def test_a_data_disk_that_does_not_answer_stops_the_fence_and_nothing_else(world: World, lun: int) -> None:  # A18
    formed(world)
    world.lun_hung |= {(0, lun), (1, lun)}
    world.power_off(2)
    world.run_until(lambda: world.events(0, "epoch-not-begun"))
    world.run(30_000)
    assert world.view.epoch == 1
    assert len(world.events(0, "epoch-not-begun")) > 5
    assert [machine.panics for machine in world.machines] == [[], [], []]
    assert world.state(0) == world.state(1) == "joined"
    # Of its commands one has not ended; no others have piled up behind it.
    before = len(world.luns[lun].commands)
    world.lun_hung.clear()
    world.run_until(lambda: world.all_joined(0, 1))
    assert len(world.luns[lun].commands) - before < 10


@pytest.mark.parametrize("election", ELECTIONS)
@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_a_master_that_has_lost_a_data_disk_is_forced_out_with_whom_it_cannot_fence(
    election: str, lost: str, how: str
) -> None:  # S6.2, A18
    world = formed(World(election=election, data_disks=DATA_DISKS))
    if lost == "before":
        _lose(world, 0, how)
        world.run(5 * world.config.timing.death_ms)
        assert world.all_joined(), "nobody is to be fenced: it goes on"
        assert world.view.master == 0
    world.power_off(2)
    if lost == "after":
        world.run_until(lambda: world.events(0, "silent"))
        _lose(world, 0, how)
    world.run_until(lambda: world.all_joined(1))
    assert [one["cause"] for one in world.events(0, "panic")] in (["forced-out"], ["reservation-conflict"])
    assert world.view.master == 1
    assert keys(world) == [lives((1, 1))] * 3
    assert {one["subject"] for one in world.events(1, "fenced")} == {0, 2}


@pytest.mark.parametrize("election", ELECTIONS)
def test_a_member_that_has_lost_a_data_disk_lets_another_one_fence_and_stays(election: str) -> None:  # S6.2, A18
    world = formed(World(4, election=election, data_disks=DATA_DISKS))
    _lose(world, 1, "hangs")
    world.run(3 * world.config.timing.death_ms)
    world.power_off(0)
    world.run_until(lambda: world.all_joined(1, 2, 3))
    assert world.view.master == 2
    assert world.events(1, "preempted") == []
    assert [machine.panics for machine in world.machines] == [[]] * 4


def test_one_failure_of_a_data_disk_costs_no_master_its_office(world: World) -> None:  # A18
    formed(world)
    world.luns[1].broken.add(0)
    world.run_until(lambda: {"lun": 1, "state": "silent"} in world.events(0, "data-disk"))
    world.luns[1].broken.clear()
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    assert world.view.master == 0
    assert world.machines[0].panics == []


def test_if_nobody_sees_all_data_disks_the_fence_waits_for_the_first_that_does(world: World) -> None:  # S5.3, A18
    formed(world)
    world.lun_hung |= {(0, 1), (1, 2)}
    world.power_off(2)
    world.run(30_000)
    assert world.view.epoch == 1
    assert world.state(0) == world.state(1) == "joined"
    world.lun_hung.remove((1, 2))
    world.run_until(lambda: world.all_joined(1))
    assert world.machines[0].panics
    assert keys(world) == [lives((1, 1))] * 3


def _lose(world: World, node: int, how: str) -> None:
    """The way to LUN 1."""
    if how == "hangs":
        world.lun_hung.add((node, 1))
    else:
        world.luns[1].broken.add(node)


def test_with_plain_preempt_the_victims_write_would_land_on_the_data_disk(world: World) -> None:  # A3
    """The test of the test."""
    formed(world)
    device = world.luns[1]
    device.aborts = False
    device.holding.add(2)
    assert raw_write(device, 2) is None
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    assert len(device.let_go(2)) == 1


def test_of_two_that_fence_each_other_only_the_winner_of_lun_0_comes_to_another_disk() -> None:  # S6.2, A6
    """Both sides of a split win an epoch each, and fence at the same time; node 1's commands are the slower ones."""
    world = formed(World(2, data_disks=DATA_DISKS))
    world.isolate(1)
    world.run_until(lambda: any(machine.panics for machine in world.machines))
    (loser,) = [node for node in range(2) if world.machines[node].panics]
    for device in world.luns:
        assert device.keys() == lives((1 - loser, 1)) or device.lun, "who lost LUN 0 has won no other disk"
    world.run_until(lambda: world.all_joined(1 - loser))
    assert keys(world) == [lives((1 - loser, 1))] * 3


def test_who_is_fenced_on_lun_0_while_it_fences_elsewhere_begins_no_epoch(world: World) -> None:  # S6.2
    """Node 0 has fenced LUN 0 and hangs at LUN 1; somebody fences it meanwhile. Its late command does no harm."""
    formed(world)
    world.lun_hung.add((0, 1))
    world.power_off(2)
    world.run_until(lambda: world.events(0, "preempted"))
    state = world.device.state
    without = {nexus: key for nexus, key in state.keys.items() if nexus[0] != "n0"}
    world.device.state = state._replace(keys=without)
    world.lun_hung.clear()
    world.run_until(lambda: world.machines[0].panics)
    assert world.view.epoch == 1
    world.run_until(lambda: world.all_joined(1))


# -- losing a data disk alone


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_a_node_that_loses_a_data_disk_stays_a_member_and_says_so(world: World, how: str) -> None:  # S5.2, S5.3, A8
    formed(world)
    world.run(2 * world.config.timing.death_ms)
    if how == "hangs":
        world.lun_hung.add((1, 2))
    else:
        world.luns[2].broken.add(1)
    world.run(20_000)
    assert world.all_joined()
    assert world.events(1, "data-disk") == [{"lun": 2, "state": "silent"}, {"lun": 2, "state": "lost"}]
    assert world.status(1)["data_disks"] == {"1": "answers", "2": "lost"}
    world.lun_hung.clear()
    world.luns[2].broken.clear()
    world.run(5000)
    assert world.events(1, "data-disk")[2:] == [{"lun": 2, "state": "answers"}]
    assert world.view.epoch == 1


@pytest.mark.parametrize("lun", [1, 2])
def test_a_node_whose_key_is_gone_from_any_disk_panics(world: World, lun: int) -> None:  # S6.1
    formed(world)
    state = world.luns[lun].state
    without = {nexus: key for nexus, key in state.keys.items() if nexus[0] != "n1"}
    world.luns[lun].state = state._replace(keys=without)
    world.run_until(lambda: world.machines[1].panics, within_ms=3 * world.config.timing.death_ms)
    (panicked,) = world.events(1, "panic")
    assert panicked["cause"] == "key-gone"
    assert f"its key is gone from LUN {lun} of the disk" in panicked["reason"]
    world.run_until(lambda: world.all_joined(0, 2))


@pytest.mark.parametrize(
    ("state", "overdue"),
    [
        (DiskState.ANSWERS, DiskState.SILENT),
        (DiskState.SILENT, DiskState.LOST),
        (DiskState.LOST, DiskState.LOST),
    ],
)
def test_what_a_data_disk_is_to_a_node_goes_by_what_it_did_last(state: DiskState, overdue: DiskState) -> None:
    assert DISK_STATES.next(state, "overdue") is overdue
    assert DISK_STATES.next(state, "answered") is DiskState.ANSWERS


# -- none


def test_without_data_disks_nothing_is_asked_and_nothing_told() -> None:
    one, three = formed(World()), formed(World(data_disks=DATA_DISKS))
    assert "data_disks" not in one.status(0)
    for world in (one, three):
        world.run(10_000)
    # The same commands come to LUN 0 until all have joined, whether there are other disks or not.
    begins: list[Any] = [actions(world.device, 0)[:8] for world in (one, three)]
    assert begins[0] == begins[1]


@pytest.mark.parametrize("count", [-1, 8])
def test_a_number_of_data_disks_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"data_disks = {count} \(legal: 0 to 7\)"):
        World(data_disks=count).power_on(0)


@pytest.mark.parametrize(("written", "told"), [(2, 1), (0, 2), (1, 0)])
def test_a_node_that_was_told_another_number_than_the_disk_says_is_refused(written: int, told: int) -> None:  # S6.2
    """It would not fence all of them."""
    world = World(data_disks=written)
    world.config = replace(world.config, data_disks=told)
    world.power_on(0)
    world.run_until(lambda: world.machines[0].exits)
    (refused,) = world.events(0, "refused")
    assert f"its cluster has data_disks = {written}, this machine is configured for {told}" in refused["reason"]
    assert [device.commands for device in world.luns] == [[(0, "read")], *[[]] * written]
