"""The shared file system in whole stacks: mounted in the join, recovered after a death, given back in a leave."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from guestd.core.disk import DATA, lane_of
from guestd.core.effects import Panic, ReadSectors, WriteSectors
from guestd.core.inputs import ReadDone, WriteDone
from guestd.sfs import answers as say
from guestd.sfs import requests as ask
from guestd.sfs.answers import Reply
from guestd.sfs.requests import ROOT_INODE
from guestd.vdm.layout import EXTENTS_LBA, TABLES_LBA
from tests.unit.guestd_world import World

SHARED = 2 << 20


def made(nodes: int = 3, seed: int = 1, shared: int = SHARED) -> World:
    world = World(nodes, seed, shared=shared)
    world.power_on()
    world.run_until(world.all_joined)
    return world


def answer(world: World, node: int, request: ask.Request, within_ms: int = 30_000) -> Reply:
    """What a program of that node is answered."""
    key = world.ask(node, request)
    world.run_until(lambda: key in world.answers, within_ms)
    return world.answers[key]


def create(world: World, node: int, name: bytes) -> tuple[int, int]:
    """Inode and handle of a new file in the root directory."""
    created = answer(world, node, ask.Create(ROOT_INODE, name, 0o644, 0, 0, True, True, False))
    assert isinstance(created, say.Created), created
    return created.entry.attributes.inode, created.handle


def write(world: World, node: int, file: tuple[int, int], data: bytes, *, durable: bool = False) -> None:
    inode, handle = file
    assert answer(world, node, ask.Write(inode, handle, 0, data, False, durable)) == say.Written(len(data))


def read(world: World, node: int, name: bytes) -> bytes:
    """The contents of a file, as another program opens and reads it."""
    entry = answer(world, node, ask.Lookup(ROOT_INODE, name))
    assert isinstance(entry, say.Entry), entry
    inode = entry.attributes.inode
    opened = answer(world, node, ask.Open(inode, False))
    assert isinstance(opened, say.Opened), opened
    found = answer(world, node, ask.Read(inode, opened.handle, 0, 1 << 20))
    assert isinstance(found, say.Data), found
    return found.data


def test_what_one_node_writes_all_others_read() -> None:  # S7.3
    world = made()
    assert all(machine.offered for machine in world.machines)
    write(world, 0, create(world, 0, b"file"), b"of node 0")
    assert [read(world, node, b"file") for node in range(3)] == [b"of node 0"] * 3
    assert [world.status(node)["sfs"]["mounted"] for node in range(3)] == [True] * 3


def test_a_node_that_joins_later_finds_the_files_and_one_that_has_left_has_saved_its_own() -> None:  # S7.3
    world = World(3, 1, shared=SHARED)
    world.power_on(0, 1)
    world.run_until(lambda: world.all_joined(0, 1))
    write(world, 1, create(world, 1, b"file"), b"not synchronized")
    world.order(1, "leave")
    world.run_until(lambda: world.machines[1].exits)
    world.power_on(2)
    world.run_until(lambda: world.all_joined(0, 2))
    assert read(world, 2, b"file") == b"not synchronized"
    assert world.events(0, "journal-replayed") == []


def test_what_was_synchronized_survives_the_death_of_its_node() -> None:  # S7.3, A13
    world = made()
    file = create(world, 0, b"file")
    write(world, 0, file, b"durable", durable=True)
    write(world, 0, file, b"perhaps")
    world.power_off(0)
    assert read(world, 1, b"file") in (b"durable", b"perhaps")  # it waits for the recovery
    world.run_until(lambda: world.all_joined(1, 2))
    replayed = [event for node in (1, 2) for event in world.events(node, "journal-replayed")]
    assert [event["found"] for event in replayed].count(True) <= 1  # exactly once
    assert len(replayed) == 2
    world.power_on(0)
    world.run_until(world.all_joined)
    assert read(world, 0, b"file") in (b"durable", b"perhaps")


def test_a_node_that_misread_the_tables_in_its_join_mounts_when_it_can_read_them() -> None:  # S7.2, S7.3
    world = World(3, 1, shared=SHARED)
    world.power_on(0, 1)
    world.run_until(lambda: world.all_joined(0, 1))
    execute = world.device.execute

    def misread(node: int, command: Any) -> Any:
        done = execute(node, command)
        tables = range(TABLES_LBA, EXTENTS_LBA)
        if node == 2 and isinstance(command, ReadSectors) and command.lba in tables and isinstance(done, ReadDone):
            return ReadDone(done.tag, True, bytes([0xFF]) * len(done.data))
        return done

    world.device.execute = misread  # type: ignore[method-assign]
    world.power_on(2)
    world.run_until(world.all_joined)
    world.run(5_000)
    assert "header, copy 1" in world.status(2)["vdm"]["refused"]
    assert not world.status(2)["sfs"]["mounted"]
    world.device.execute = execute  # type: ignore[method-assign]
    world.run_until(lambda: world.status(2)["sfs"]["mounted"])
    assert world.status(2)["vdm"]["refused"] is None
    write(world, 0, create(world, 0, b"file"), b"of node 0")
    assert read(world, 2, b"file") == b"of node 0"
    world.order(2, "leave")
    world.run_until(lambda: world.machines[2].exits)


def test_a_program_that_recovers_after_a_dead_node_uses_its_files() -> None:  # S4.11, S7.1, S8.6
    """Their locks are not held back until it has acknowledged; those of programs are."""
    world = made()
    write(world, 0, create(world, 0, b"file"), b"durable", durable=True)
    recovers = world.program(1, "recovers", 40, answers_ms=None)
    world.run_until(lambda: recovers.told("join"))
    recovers.acknowledge(len(recovers.all("notification")))
    users = [world.program(node, "uses locks", 60) for node in range(2)]
    world.run_until(lambda: all(user.told("join") for user in users))
    users[0].send(lock={"id": 1, "name": ["ours"], "mode": "EX"})
    world.run_until(lambda: users[0].all("granted"))
    users[1].send(lock={"id": 1, "name": ["ours"], "mode": "EX"})
    users[1].send(lock={"id": 2, "name": ["ours too"], "mode": "EX", "recovery": True})
    world.power_off(0)
    world.run_until(lambda: recovers.told("forced-leave"))
    assert read(world, 1, b"file") == b"durable"
    world.run(1000)
    assert [one["id"] for one in users[1].all("granted")] == [2], "of another program: until all have recovered"
    recovers.acknowledge(len(recovers.all("notification")))
    world.run_until(lambda: len(users[1].all("granted")) == 2)


def test_what_was_synchronized_survives_the_death_of_all() -> None:  # S7.3
    world = made()
    for node in range(3):
        write(world, node, create(world, node, b"file %d" % node), b"of node %d" % node, durable=True)
    world.power_off()
    world.power_on()
    world.run_until(world.all_joined)
    for node in range(3):
        assert read(world, (node + 1) % 3, b"file %d" % node) == b"of node %d" % node


def test_a_file_that_nobody_synchronizes_is_on_the_disk_after_a_while() -> None:
    world = made(2)
    write(world, 0, create(world, 0, b"file"), b"for a while")
    world.run(8000)
    world.power_off()
    world.power_on()
    world.run_until(world.all_joined)
    assert read(world, 1, b"file") == b"for a while"


def test_after_its_leave_a_node_answers_that_nothing_is_mounted() -> None:
    world = made(2)
    file = create(world, 0, b"file")
    world.order(0, "leave")
    world.run_until(lambda: any(e["state"] == "unmounted" for e in world.events(0, "file-system")))
    if world.machines[0].stack is not None:
        assert answer(world, 0, ask.Write(*file, 0, b"late", False, False)) == say.Failed(errno.ENODEV)


def test_a_cluster_without_a_file_system_joins_and_says_so() -> None:
    world = made(2, shared=0)
    assert not any(machine.offered for machine in world.machines)
    assert "'shared'" in world.status(0)["sfs"]["refused"]
    assert answer(world, 0, ask.Lookup(ROOT_INODE, b"file")) == say.Failed(errno.ENODEV)


def test_a_damaged_file_system_is_not_mounted_and_the_reason_is_told() -> None:
    world = World(2, 1, shared=SHARED)
    start = 5 << 20
    world.disk[start : start + 512] = bytes(512)
    world.power_on()
    world.run_until(world.all_joined)
    world.run(20_000)
    assert not any(machine.offered for machine in world.machines)
    told = [event for event in world.events(1, "file-system") if event["state"] == "refused"]
    assert len(told) == 1  # though it is tried again and again
    assert "block 0" in told[0]["reason"]


def hung(world: World, node: int, for_ms: int) -> None:
    world.disk_hung.add(node)
    world.run(for_ms)
    world.disk_hung.discard(node)


def test_a_disk_that_answers_late_loses_nothing() -> None:
    world = made()
    file = create(world, 0, b"file")
    key = world.ask(0, ask.Write(*file, 0, b"late", False, True))
    hung(world, 0, 600)
    world.run_until(lambda: key in world.answers)
    assert world.answers[key] == say.Written(4)
    assert world.all_joined()


def failing(world: World, patch: pytest.MonkeyPatch, fails: Callable[[Any], bool]) -> None:
    """Commands of node 0's data lane for which `fails` says so end with an error, though they are carried out."""
    execute: Any = world.device.execute

    def answered(node: int, effect: Any) -> Any:
        done = execute(node, effect)
        if node != 0 or lane_of(effect.tag) != DATA or not fails(effect):
            return done
        return ReadDone(effect.tag, False, b"") if isinstance(effect, ReadSectors) else WriteDone(effect.tag, False)

    patch.setattr(world.device, "execute", answered)


@pytest.mark.parametrize("refusals", [1, 3])
def test_a_command_that_fails_is_tried_again(refusals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = made()
    file = create(world, 0, b"file")
    left = [refusals]

    def fails(effect: Any) -> bool:
        left[0] -= isinstance(effect, WriteSectors)
        return isinstance(effect, WriteSectors) and left[0] >= 0

    failing(world, monkeypatch, fails)
    write(world, 0, file, b"in the end", durable=True)
    assert left[0] < 0
    assert read(world, 1, b"file") == b"in the end"
    assert not any(machine.panics for machine in world.machines)


def test_a_node_that_cannot_write_its_files_panics_and_another_one_replays(  # S6.1
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = made()
    file = create(world, 0, b"file")
    write(world, 0, file, b"durable", durable=True)
    failing(world, monkeypatch, lambda effect: isinstance(effect, WriteSectors))
    world.ask(0, ask.Write(*file, 0, b"never", False, True))
    world.run_until(lambda: world.machines[0].panics)
    assert world.events(0, "panic")[0]["cause"] == "files-lost"
    world.run_until(lambda: world.all_joined(1, 2))
    assert read(world, 2, b"file") in (b"durable", b"neverle")  # what was overwritten: the old or the new


def test_who_reads_a_file_from_its_beginning_in_small_pieces_waits_for_the_disk_now_and_then_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = made()
    inode, handle = create(world, 1, b"file")
    write(world, 1, (inode, handle), bytes(64 * 4096))
    reads: list[Any] = []

    def watched(effect: Any) -> bool:
        reads.extend([effect] if isinstance(effect, ReadSectors) else [])
        return False

    failing(world, monkeypatch, watched)
    assert isinstance(answer(world, 0, ask.Lookup(ROOT_INODE, b"file")), say.Entry)
    opened = answer(world, 0, ask.Open(inode, False))
    assert isinstance(opened, say.Opened)
    reads.clear()
    for number in range(64):
        found = answer(world, 0, ask.Read(inode, opened.handle, number * 4096, 4096))
        assert found == say.Data(bytes(4096))
    assert len(reads) <= 4


def test_a_lock_of_a_dead_node_is_granted_when_its_journal_was_replayed_everywhere() -> None:  # A13
    world = made()
    inode, handle = create(world, 0, b"file")
    lock = partial(ask.LockWhole, owner=7, kind=ask.LockKind.EXCLUSIVE, wait=True)
    assert answer(world, 0, lock(inode, handle)) == say.Done()
    opened = answer(world, 1, ask.Open(inode, True))
    assert isinstance(opened, say.Opened)
    waits = world.ask(1, lock(inode, opened.handle))
    world.run(3000)
    assert waits not in world.answers
    world.power_off(0)
    world.run_until(lambda: waits in world.answers)
    assert world.answers[waits] == say.Done()
    mark = [kind for node, kind, _ in world.journal if node in (1, 2)]
    assert mark.count("journal-replayed") == 2


class Kernels:
    """The attributes that the kernels of all nodes keep: until they are told, or change them themselves."""

    def __init__(self, world: World) -> None:
        self.kept: list[dict[int, say.Attributes]] = [{} for _ in world.machines]
        world.on_files = self.hear

    def hear(self, node: int, effect: say.FileAnswer | say.FileChanged) -> None:
        if isinstance(effect, say.FileChanged):
            self.kept[node].pop(effect.inode, None)
            return
        reply = effect.reply.attributes if isinstance(effect.reply, say.Entry) else effect.reply
        if isinstance(reply, say.Attributes):
            self.kept[node].pop(reply.inode, None)
            if reply.keep:
                self.kept[node][reply.inode] = reply

    def changed(self, node: int, *inodes: int) -> None:
        """By a program of that node itself."""
        for inode in inodes:
            self.kept[node].pop(inode, None)


def test_a_kernel_is_told_to_forget_attributes_before_another_node_changes_them() -> None:
    world = made()
    kernels = Kernels(world)
    inode, handle = create(world, 0, b"file")
    for node in range(3):
        assert isinstance(answer(world, node, ask.GetAttributes(inode)), say.Attributes)
        assert kernels.kept[node][inode].size == 0
    write(world, 0, (inode, handle), b"longer")
    assert [inode in kernels.kept[node] for node in (1, 2)] == [False, False]
    assert answer(world, 1, ask.GetAttributes(inode)) == answer(world, 2, ask.GetAttributes(inode))
    assert kernels.kept[1][inode].size == 6


def _all_answered(world: World, keys: list[tuple[int, int, int]]) -> bool:
    return all(key in world.answers for key in keys)


@pytest.mark.parametrize("seed", range(5))
def test_attributes_that_a_kernel_keeps_are_true(seed: int) -> None:
    world = made(seed=seed)
    kernels, random = Kernels(world), world.random
    files = [create(world, node, b"%d" % node) for node in range(3)]
    handles = [{inode: handle} for inode, handle in files]
    for node in range(3):
        for inode, _ in files:
            if inode not in handles[node]:
                opened = answer(world, node, ask.Open(inode, True))
                assert isinstance(opened, say.Opened)
                handles[node][inode] = opened.handle
    compared = 0
    for _ in range(60):
        under_way = {}
        for node in range(3):
            inode = random.choice(files)[0]
            asked: ask.Request = random.choice(
                [
                    ask.GetAttributes(inode),
                    ask.GetAttributes(ROOT_INODE),
                    ask.Lookup(ROOT_INODE, b"%d" % random.randrange(3)),
                    ask.SetAttributes(inode, None, mode=random.randrange(512)),
                    ask.Write(inode, handles[node][inode], random.randrange(9000), b"x", False, False),
                    ask.Link(inode, ROOT_INODE, b"link%d" % node),
                    ask.Unlink(ROOT_INODE, b"link%d" % node),
                ]
            )
            under_way[world.ask(node, asked)] = asked, inode
        world.run_until(partial(_all_answered, world, list(under_way)))
        for (node, *_), (asked, inode) in under_way.items():
            if isinstance(asked, (ask.Write, ask.Link, ask.Unlink)):  # which file that name was, the kernel knows
                kernels.changed(node, ROOT_INODE, *((inode,) if isinstance(asked, ask.Write) else handles[node]))
        for node in range(3):
            for inode, attributes in list(kernels.kept[node].items()):
                found = answer(world, (node + 1) % 3, ask.GetAttributes(inode))
                assert isinstance(found, say.Attributes)
                fields = [field for field in say.Attributes.value_fields if field != "keep"]
                told, true = ([getattr(one, field) for field in fields] for one in (attributes, found))
                assert told == true, (node, inode)
                compared += 1
    assert compared > 60


def test_who_waits_for_a_lock_when_its_node_leaves_is_told_that_nothing_is_mounted() -> None:
    world = made()
    inode, handle = create(world, 0, b"file")
    lock = partial(ask.LockWhole, owner=7, kind=ask.LockKind.EXCLUSIVE, wait=True)
    assert answer(world, 0, lock(inode, handle)) == say.Done()
    opened = [answer(world, 1, ask.Open(inode, True)) for _ in range(2)]
    assert all(isinstance(one, say.Opened) for one in opened)
    waits = world.ask(1, lock(inode, opened[0].handle))  # type: ignore[attr-defined]
    world.run(500)
    world.order(1, "leave")
    world.run_until(lambda: world.machines[1].stack is None or world.machines[1].stack.kernel.files.leaving)
    late = world.ask(1, lock(inode, opened[1].handle, owner=8))  # type: ignore[attr-defined]
    world.run_until(lambda: world.machines[1].exits)
    assert [world.answers[key] for key in (waits, late)] == [say.Failed(errno.ENODEV)] * 2


def test_a_write_of_a_file_that_the_disk_refuses_ends_the_life_with_that_very_input() -> None:  # S6.4
    """Nothing else of that input concerns the membership, and it must not wait for one that does."""
    world = made(2)
    stack = world.machines[0].stack
    assert stack is not None
    inode, handle = create(world, 0, b"file")
    now_ms = world.now_ms
    request = ask.FileRequest(1 << 40, 0, ask.Write(inode, handle, 0, b"refused", False, True))
    commands = [effect for effect in stack.handle(request, now_ms) if isinstance(effect, WriteSectors)]
    assert [lane_of(command.tag) for command in commands] == [DATA]
    effects = stack.handle(WriteDone(commands[0].tag, False, conflict=True), now_ms)
    assert [effect.reason for effect in effects if isinstance(effect, Panic)] == [
        "node 0 (incarnation 1) found itself forced out: the disk refused its write (reservation conflict)"
    ]
