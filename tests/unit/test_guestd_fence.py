"""The fence: who may write, and that nothing is done in a victim's place before it cannot (spec S6)."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from guestd.core.config import Config
from guestd.core.effects import ScsiCommand, WriteSectors
from guestd.core.inputs import ScsiDone
from guestd.core.value import replace
from guestd.fence import persistent_reserve as pr
from guestd.fence.keys import key_of, life_of
from guestd.membership import layout
from guestd.membership.records import Ballot, Commit, decode_commit, encode_ballot, encode_commit
from guestd.membership.regions import Region
from guestd.membership.states import NodeState
from guestd.membership.view import begin_leave
from hil.scsi.reservations import Type
from tests.unit.guestd_world import World


@pytest.fixture
def world() -> World:
    return World()


def formed(world: World) -> World:
    world.power_on()
    world.run_until(world.all_joined)
    return world


def region(world: World, node: int) -> bytes:
    start = layout.DATABASE_OFFSET + layout.REGIONS_OFFSET + node * layout.REGION_SIZE
    return bytes(world.disk[start : start + layout.REGION_SIZE])


# -- registration, S6.3


def test_a_key_says_whose_it_is() -> None:
    assert life_of(key_of(63, 0xFFFFFFFF)) == (63, 0xFFFFFFFF)
    assert life_of(0xA1) is None


def test_all_members_are_registered_and_only_they_write(world: World) -> None:  # S6.2
    formed(world)
    assert world.device.keys() == [key_of(node, 1) for node in range(3)]
    assert world.device.state.type == Type.WRITE_EXCLUSIVE_ALL_REGISTRANTS
    assert world.device.state.aptpl


def test_a_life_registers_before_it_believes_its_records_and_writes(world: World) -> None:  # S6.3
    world.power_on(0)
    world.run_until(lambda: world.events(0, "incarnation"))
    done = [what for node, what in world.device.commands]
    # header, regions; who is registered; register and ignore, reserve, look; regions again; the new incarnation
    registers = ["read-keys", "reserve-out-6", "reserve-out-1", "read-keys"]
    assert done[:8] == ["read", "read", *registers, "read", "write"]


def test_a_new_life_ends_what_the_earlier_one_has_queued(world: World) -> None:  # S6.3, A4
    formed(world)
    world.device.holding.add(2)
    world.run_until(lambda: world.device.held)
    world.power_off(2)
    world.power_on(2)
    world.run_until(lambda: world.events(2, "registered")[1:])
    assert [holder for holder, _ in world.device.aborted] == [2]
    assert not world.device.held
    world.device.holding.discard(2)
    world.run_until(world.all_joined)


def test_without_the_abort_the_old_write_would_land(world: World) -> None:  # A4: the test of the test
    formed(world)
    world.device.aborts = False
    world.device.holding.add(2)
    world.run_until(lambda: world.device.held)
    world.power_off(2)
    world.power_on(2)
    world.device.holding.discard(2)
    world.run_until(world.all_joined)
    before = region(world, 2)
    world.let_go(2)
    assert region(world, 2) != before


def test_the_key_of_an_earlier_life_is_there_until_its_commands_are_not(world: World) -> None:  # S6.3
    formed(world)
    world.power_off(2)
    world.power_on(2)
    assert key_of(2, 1) in list(world.device.keys())
    world.run_until(lambda: world.events(2, "registered")[1:])
    abort = world.device.commands.index((2, "reserve-out-5"))
    register = len(world.device.commands) - world.device.commands[::-1].index((2, "reserve-out-6")) - 1
    assert abort < register


def test_an_earlier_life_that_wrote_after_the_first_read_is_counted(world: World) -> None:  # S6.3
    """Its announcement lands between the first read and the abort: the number it took is not taken again."""
    formed(world)
    world.power_off(2)
    world.device.holding.add(2)
    world.power_on(2)
    world.run_until(lambda: world.device.held)  # life 2 announces itself: held
    world.power_off(2)
    world.power_on(2)
    world.run_until(lambda: (2, "read-keys") in world.device.commands[-1:])  # life 3 has read the regions once
    world.let_go(2)
    world.run_until(lambda: world.events(2, "incarnation")[1:])
    assert world.events(2, "incarnation")[-1] == {"incarnation": 3}
    world.run_until(world.all_joined)


@pytest.mark.parametrize("attentions", [1, 3])
def test_a_unit_attention_is_news_and_no_answer(world: World, attentions: int) -> None:
    world.device.attentions = dict.fromkeys(range(3), attentions)
    formed(world)


def test_a_disk_that_does_not_answer_is_asked_again(world: World) -> None:
    world.device.broken = {0}
    world.power_on(0)
    world.run(3000)
    assert not world.events(0, "incarnation")
    world.device.broken.clear()
    world.run_until(lambda: world.events(0, "incarnation"))


def test_a_disk_that_takes_no_reservations_is_refused_and_says_what_to_do(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(world.device, "_reserve", lambda node, command: (pr.CHECK_CONDITION, b""))
    monkeypatch.setattr(world.device, "_scsi", lambda node, command: answer(world, node, command))
    world.power_on(0)
    world.run(1000)
    (refused,) = world.events(0, "refused")
    assert 'fence = "panic"' in refused["reason"]
    assert world.machines[0].exits == [2]


def answer(world: World, node: int, command: ScsiCommand) -> ScsiDone:
    """READ KEYS works, PERSISTENT RESERVE OUT is no operation of this disk (ILLEGAL REQUEST)."""
    if command.cdb[0] == 0x5E:
        return ScsiDone(command.tag, pr.GOOD, struct.pack(">II", 0, 0))
    return ScsiDone(command.tag, pr.CHECK_CONDITION, sense_key=0x5)


# -- the fence, S6.2


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_victim_has_no_key_before_its_epoch_begins(world: World, victim: int) -> None:  # S6.2
    formed(world)
    world.power_off(victim)
    actor = 1 if victim == 0 else 0
    world.run_until(lambda: world.events(actor, "fenced"))
    assert world.device.keys() == [key_of(node, 1) for node in range(3) if node != victim]
    assert world.view.epoch == 1, "nothing is committed before the fence is verified"
    world.run_until(lambda: world.all_joined(*(node for node in range(3) if node != victim)))
    assert world.events(actor, "fenced") == [{"subject": victim, "incarnation": 1}]


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_write_that_was_queued_never_lands_after_the_fence(world: World, victim: int) -> None:  # A3
    formed(world)
    world.device.holding.add(victim)
    world.run_until(lambda: world.device.held)
    world.power_off(victim)
    world.run_until(lambda: world.all_joined(*(node for node in range(3) if node != victim)))
    before = region(world, victim)
    world.let_go(victim)
    assert region(world, victim) == before


def test_with_plain_preempt_that_write_would_land(world: World) -> None:  # A3: the test of the test
    formed(world)
    world.device.aborts = False
    world.device.holding.add(2)
    world.run_until(lambda: world.device.held)
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    before = region(world, 2)
    world.let_go(2)
    assert region(world, 2) != before


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_node_that_was_frozen_is_refused_by_the_disk_and_panics(world: World, victim: int) -> None:  # A1, A2, S6.4
    formed(world)
    world.freeze(victim)
    world.run_until(lambda: world.all_joined(*(node for node in range(3) if node != victim)))
    world.run(600_000)
    world.cut = {(other, victim) for other in range(3)}  # nobody can tell it: only the disk does
    before = region(world, victim)
    world.thaw(victim)
    world.run_until(lambda: world.machines[victim].panics, within_ms=world.config.timing.disk_heartbeat_ms)
    assert region(world, victim) == before
    assert world.events(victim, "panic")[0]["cause"] in ("reservation-conflict", "forced-out")


def without_key(world: World, node: int) -> None:
    """Somebody has fenced it."""
    state = world.device.state
    world.device.state = state._replace(keys={nexus: k for nexus, k in state.keys.items() if nexus[0] != f"n{node}"})


def test_who_loses_its_key_while_it_bids_panics(world: World) -> None:  # S6.1, S6.4
    formed(world)
    world.power_off(2)
    known = len(world.events(0, "bid"))
    world.run_until(lambda: len(world.events(0, "bid")) > known)
    without_key(world, 0)
    world.run_until(lambda: world.machines[0].panics)
    assert world.events(0, "panic")[0]["cause"] == "reservation-conflict"
    world.run_until(lambda: world.all_joined(1))


def test_who_loses_its_key_before_it_fences_somebody_panics(world: World, monkeypatch: Any) -> None:  # S6.1
    formed(world)
    reserve = world.device._reserve

    def just_after(node: int, command: ScsiCommand) -> tuple[int, bytes]:
        if node == 0:
            without_key(world, 0)
        return reserve(node, command)

    monkeypatch.setattr(world.device, "_reserve", just_after)
    world.power_off(2)
    world.run_until(lambda: world.machines[0].panics)
    assert world.events(0, "panic")[0]["cause"] == "key-gone"
    assert world.view.epoch == 1


def test_what_must_not_be_forgotten_is_written_through_every_cache(world: World, monkeypatch: Any) -> None:  # S2.5
    """A ballot, a commit record and the number of a new life; a lost heartbeat is only late."""
    durable: dict[int, list[bool]] = {}
    execute = world.device.execute

    def watched(node: int, command: Any) -> Any:
        if isinstance(command, WriteSectors):
            _, sector = divmod(command.lba - layout.REGIONS_LBA, layout.REGION_SECTORS)
            durable.setdefault(sector, []).append(command.durable)
        return execute(node, command)

    monkeypatch.setattr(world.device, "execute", watched)
    world.power_on()
    world.run_until(world.all_joined)
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    assert set(durable) == {layout.HEARTBEAT_SECTOR, layout.BALLOT_SECTOR, layout.COMMIT_SECTOR}
    assert all(durable[layout.BALLOT_SECTOR] + durable[layout.COMMIT_SECTOR])
    assert durable[layout.HEARTBEAT_SECTOR].count(True) == 3  # the first of each node


def test_a_fence_that_cannot_be_verified_lets_nothing_begin(world: World) -> None:  # A18
    formed(world)
    world.power_off(2)
    world.run_until(lambda: world.events(0, "silent"))
    world.device.broken = {0}
    world.run_until(lambda: world.events(0, "epoch-not-begun"))
    world.run(10_000)
    assert world.view.epoch == 1
    world.device.broken.clear()
    world.run_until(lambda: world.all_joined(0, 1))


def test_a_victim_that_is_still_registered_is_not_fenced(world: World, monkeypatch: Any) -> None:  # S6.2, A18
    formed(world)
    execute = world.device._reserve

    def deaf(node: int, command: ScsiCommand) -> tuple[int, bytes]:
        action = command.cdb[1] & 0x1F
        return (pr.GOOD, b"") if (command.cdb[0], action) == (0x5F, 5) else execute(node, command)

    monkeypatch.setattr(world.device, "_reserve", deaf)
    world.power_off(2)
    world.run_until(lambda: world.events(0, "epoch-not-begun"))
    assert world.view.epoch == 1
    monkeypatch.undo()
    world.run_until(lambda: world.all_joined(0, 1))


@pytest.mark.parametrize("overlooked", [False, True])
def test_the_last_commit_of_a_master_that_is_fenced_is_not_overlooked(
    world: World, monkeypatch: Any, overlooked: bool
) -> None:  # A11
    """It lands after the successor has read for the last time in its election, and before the fence. With the read
    after the fence left out, the next epoch begins where the master was before (the test of the test).
    """
    world.power_on(0, 1, 2)
    world.run_until(lambda: world.view.epoch == 1 and world.view.step == 2)
    world.device.holding.add(0)
    world.run_until(lambda: [entry for entry in world.device.held if commits(entry)])
    world.freeze(0)
    (late,) = [entry[1] for entry in world.device.held if commits(entry)]
    reserve = world.device._reserve

    def just_before(node: int, command: ScsiCommand) -> tuple[int, bytes]:
        if command.cdb[0] == 0x5F and command.cdb[1] & 0x1F == pr.PREEMPT_AND_ABORT:
            world.let_go(0)
        return reserve(node, command)

    monkeypatch.setattr(world.device, "_reserve", just_before)
    if overlooked:
        stack = world.machines[1].stack
        assert stack is not None
        office = stack._manager._office
        monkeypatch.setattr(office, "_database", Blind(office._database))
    world.run_until(lambda: world.view.epoch == 2)
    landed = decode_commit(world.config.cluster_id, 0, late.data[:512], 3)
    assert landed is not None
    kept = all(world.view.entries[node] == landed.view.entries[node] for node in (1, 2))
    assert kept is not overlooked


class Blind:
    """A database whose reads show what the successor knew before the fence."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def read(self, then: Any) -> None:
        then([Region(None, None, None, ())] * 3)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def commits(entry: tuple[int, WriteSectors]) -> bool:
    return entry[1].lba == layout.region_lba(entry[0], layout.COMMIT_SECTOR)


@pytest.mark.parametrize(("election", "writes"), [("paxos", 3), ("dekker", 5)])
@pytest.mark.parametrize(("victim", "more"), [(2, 0), (0, 1)])
def test_what_an_election_costs_on_the_disk(election: str, writes: int, victim: int, more: int) -> None:  # S3.2
    """Two writes and two reads for the ballot, READ KEYS, the write of the commit record, and one fence per victim.

    In mode `dekker`, two writes and two reads for each of the two rounds. After a master one read more, for what it may
    have written last.
    """
    world = formed(World(election=election))
    cost = 2 * writes + more
    actor = 1 if victim == 0 else 0
    before = len(world.events(actor, "bid"))
    world.power_off(victim)
    world.run_until(lambda: len(world.events(actor, "bid")) > before)
    at = len(world.device.commands)
    world.run_until(lambda: world.view.epoch == 2)
    mine = [what for node, what in world.device.commands[at:] if node == actor]
    assert mine.count("reserve-out-5") == 1
    others = [what for what in mine if what != "reserve-out-5"]
    # Heartbeats that were due meanwhile, each with its read, are no part of it.
    assert (len(others) - cost) % 2 == 0, mine
    assert others.count("write") - writes == (len(others) - cost) // 2, mine


def test_former_members_are_fenced_before_a_cluster_is_formed_anew(world: World) -> None:  # S6.2
    formed(world)
    world.power_off()
    world.power_on(0)
    world.run_until(lambda: world.all_joined(0))
    assert world.device.keys() == [key_of(0, 2)]


def test_mode_panic_touches_no_reservation() -> None:  # S6.5
    world = World()
    world.config = Config(world.config.cluster_id, "demo", 3, world.config.timing, fence="panic")
    formed(world)
    world.power_off(2)
    world.run_until(lambda: world.all_joined(0, 1))
    assert world.device.keys() == []
    assert not [what for _, what in world.device.commands if what not in ("read", "write")]


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"fence": "hope"}, r"fence = 'hope' \(legal: scsi, panic\)"),
        ({"election": "lots"}, r"election = 'lots' \(legal: paxos, dekker\)"),
        ({"election": "dekker", "fence": "panic"}, r'election = "dekker" needs fence = "scsi", not "panic"'),
    ],
)
def test_a_fence_or_an_election_that_there_is_not_is_refused(chosen: dict[str, str], told: str) -> None:  # S3.2
    world = World()
    world.config = Config(world.config.cluster_id, "demo", 3, world.config.timing, **chosen, data_disks=0)
    with pytest.raises(ValueError, match=told):
        world.power_on(0)


# -- the bytes


def test_the_commands_are_what_the_standard_says() -> None:  # SPC-4 6.15, 6.16
    cdb, data = pr.out(pr.PREEMPT_AND_ABORT, 0x1122, 0x3344)
    assert cdb == bytes.fromhex("5f 05 07 00 00 00 00 00 18 00")
    assert data == bytes.fromhex("0000000000001122 0000000000003344 00000000 00 000000")
    cdb, data = pr.out(pr.REGISTER_AND_IGNORE_EXISTING_KEY, 0, 0x55)
    assert cdb == bytes.fromhex("5f 06 00 00 00 00 00 00 18 00")
    assert data == bytes.fromhex("0000000000000000 0000000000000055 00000000 01 000000")
    assert pr.read_keys() == bytes.fromhex("5e 00 00 00 00 00 00 08 00 00")


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (struct.pack(">II2Q", 7, 16, 1, 2), [1, 2]),
        (struct.pack(">II2Q", 7, 16, 1, 2) + b"beyond", [1, 2]),
        (struct.pack(">II", 7, 0), []),
        (struct.pack(">IIQ", 7, 16, 1), None),  # cut off
        (struct.pack(">II", 7, 4) + b"abcd", None),  # no keys
        (b"", None),
    ],
)
def test_keys_are_read_whole_or_not_at_all(data: bytes, keys: list[int] | None) -> None:
    assert pr.parse_keys(data) == keys


# -- an epoch that is gone past, and its slow owner (docs/election.md)


def slow_owner(world: World) -> WriteSectors:
    """Node 2 owns epoch 2, in which node 1 leaves, and its commit record is still on its way; node 1 has gone past."""
    identity = world.config.cluster_id
    for node, ballot in (
        (2, Ballot(1, epoch=2, incarnation=1, mbal=66, bal=66, owner=2, owner_incarnation=1)),
        (1, Ballot(1, epoch=3, incarnation=1, mbal=65, bal=0, owner=0, owner_incarnation=0)),
    ):
        start = layout.region_lba(node, layout.BALLOT_SECTOR) * 512
        record = encode_ballot(identity, node, ballot) * layout.COPIES
        world.disk[start : start + len(record)] = record
    view = replace(begin_leave(world.view, 1), epoch=2, step=0, master=2)
    record = encode_commit(identity, 2, Commit(1, view)) * layout.COPIES
    return WriteSectors(0, layout.region_lba(2, layout.COMMIT_SECTOR), record)


def test_the_owner_of_an_epoch_that_is_gone_past_can_commit_it_no_more(world: World) -> None:  # S3.3, S6.2
    formed(world)
    late = slow_owner(world)
    world.freeze(2)
    world.device.held.append((2, late))
    world.order(1, "leave")
    world.run_until(lambda: world.view.epoch == 3)
    assert (2, late) in world.device.aborted
    assert {"subject": 2, "incarnation": 1} in world.events(0, "fenced")
    assert not world.view.entries[2].state.live
    world.thaw(2)
    world.run_until(lambda: world.machines[2].panics)


def test_what_it_had_committed_just_before_is_what_the_next_epoch_begins_from(monkeypatch: Any) -> None:  # S3.3
    """Epoch 2 is about the leave of node 1, epoch 3 about the death of node 3: both are in what is committed."""
    world = formed(World(4))
    late = slow_owner(world)
    world.freeze(2)
    world.device.held.append((2, late))
    reserve = world.device._reserve

    def just_before(node: int, command: ScsiCommand) -> tuple[int, bytes]:
        if command.cdb[0] == 0x5F and command.cdb[1] & 0x1F == pr.PREEMPT_AND_ABORT:
            world.let_go(2)
        return reserve(node, command)

    monkeypatch.setattr(world.device, "_reserve", just_before)
    world.power_off(3)
    world.run_until(lambda: world.view.epoch == 3)
    states = [entry.state for entry in world.view.entries]
    assert states[:2] == [NodeState.JOINED, NodeState.LEAVING]
    assert states[2:] == [NodeState.FORCED_LEAVING, NodeState.FORCED_LEAVING]


def test_who_was_given_an_epoch_by_another_takes_it_instead_of_being_fenced() -> None:  # S3.2
    """Node 0 has taken over the value of node 1, which gave way and waits for node 0 to form the cluster."""
    world = formed(World(2))
    world.power_off()
    ballot = Ballot(5, epoch=2, incarnation=1, mbal=128, bal=128, owner=1, owner_incarnation=2)
    start = layout.region_lba(0, layout.BALLOT_SECTOR) * 512
    record = encode_ballot(world.config.cluster_id, 0, ballot) * layout.COPIES
    world.disk[start : start + len(record)] = record
    world.power_on()
    assert world.run_until(world.all_joined) < world.config.timing.death_ms
    assert world.masters[2] == (1, 2)
    assert [machine.panics for machine in world.machines] == [[], []]
