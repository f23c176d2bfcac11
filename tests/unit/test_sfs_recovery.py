"""Recovery of the file system after a node that died (spec S7.3), one case at a time."""

from __future__ import annotations

import random
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from guestd.membership.states import NodeState
from guestd.sfs import mount
from guestd.sfs.errors import FsError
from guestd.sfs.keys import MOUNT
from guestd.sfs.level import ORDER
from guestd.tasks.steps import Signal
from tests.unit.dlm_net import Options
from tests.unit.sfs_disk import Cut, Write
from tests.unit.sfs_net import SfsWorld
from tests.unit.sfs_node import check, formatted
from tests.unit.sfs_users import Users, watched

if TYPE_CHECKING:
    from guestd.tasks.steps import Task


def three(seed: int, disk_ms: tuple[int, int] = (0, 3)) -> SfsWorld:
    world = SfsWorld(seed, disk_ms=disk_ms)
    for number in range(3):
        world.power_on(number)
    world.run_until(world.all_usable)
    return world


COMMITTED = b"committed"


def commit_but_in_place(world: SfsWorld, number: int, file: int) -> None:
    """That node has just committed a write to the file: only a replay brings the file's inode to its place."""
    system = world.system(number)
    world.run_task(number, system.write(file, 0, COMMITTED, 2))
    world.start(number, system.fsync(file), lambda _: None)
    transaction = 8 * world.superblock.transaction(number)
    writes = len(world.disk.log)
    world.run_until(lambda: any(getattr(one, "lba", 0) == transaction for one in world.disk.log[writes:]), 1000)


def test_what_a_dead_node_had_synced_is_there_and_a_survivor_waits_for_the_replay() -> None:  # A13
    world = three(1)
    system = world.system(0)
    file = world.run_task(0, system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    world.run_task(0, system.write(file, 0, b"synced", 1))
    world.run_task(0, system.fsync(file))
    commit_but_in_place(world, 0, file)
    world.kill(0, noticed_ms=100)
    read: list[object] = []
    world.start(1, world.system(1).read(file, 0, 99), lambda outcome: read.append(outcome.get()))
    world.run_until(lambda: world.view.entries[0].state is NodeState.FORCED_LEAVING)
    while world.view.entries[0].state is NodeState.FORCED_LEAVING:
        assert not read, "a lock of the dead node was granted before the recovery was through"
        world.run(1)
    world.run_until(lambda: read)
    assert read == [COMMITTED]
    assert world.stacks[1].level.replays + world.stacks[2].level.replays == 1  # exactly once


@pytest.mark.parametrize("seed", range(12))
def test_a_second_node_dies_in_the_replay_and_a_third_one_goes_on(seed: int) -> None:  # A12
    world = SfsWorld(seed, disk_ms=(1, 12))
    users = Users(world)
    with watched(users.ledger):
        for number in range(3):
            world.power_on(number)
        world.run_until(world.all_usable)
        for _ in range(60):
            users.act(users.random.randrange(3))
            world.run(users.random.choice([0, 5, 20]))
        world.kill(0, noticed_ms=10)
        world.run_until(lambda: (world.view.entries[0].level, world.view.entries[0].state.live) == (ORDER, False))
        world.run(seed * 3)
        world.kill(1, noticed_ms=10)
        world.power_on(0)  # and joins meanwhile
        for _ in range(30):
            users.act(2)
            world.run(20)
        users.finish()
        for stack in world.all_stacks:
            stack.engine.stop()


@pytest.mark.parametrize("delay_ms", range(0, 400, 20))
def test_a_node_that_mounts_while_another_one_dies_recovers_after_it(delay_ms: int) -> None:  # A12
    world = SfsWorld(delay_ms, disk_ms=(2, 10))
    world.power_on(0)
    world.run_until(lambda: world.usable(0))
    system = world.system(0)
    file = world.run_task(0, system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    world.run_task(0, system.fsync(file))
    world.power_on(1)
    world.run(delay_ms)
    commit_but_in_place(world, 0, file)
    world.kill(0, noticed_ms=delay_ms % 60)
    world.run_until(lambda: world.usable(1))
    assert world.run_task(1, world.system(1).getattr(file)).size == len(COMMITTED)
    world.run_until(lambda: world.view.entries[0].state is NodeState.INACTIVE)
    assert world.leave(1)
    world.run_until(lambda: world.nodes[1].level is None)
    report = check(world.disk.now, world.blocks)
    assert (report.wrong, report.notes) == ([], [])


AWAY = 11


def one_that_stays_away(seed: int) -> tuple[SfsWorld, int]:
    """Power has failed when node 11 had just committed that a file is shorter; all are off. And the file."""
    world = SfsWorld(seed, Options(nodes=AWAY + 1, view_ms_max=1, delay_ms_max=20))
    world.power_on(AWAY)
    world.run_until(lambda: world.usable(AWAY))
    system = world.system(AWAY)
    file: int = world.run_task(AWAY, system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    world.run_task(AWAY, system.write(file, 0, b"before", 1))
    world.run_task(AWAY, system.sync())
    world.run_task(AWAY, system.setattr(file, 2, size=3))
    world.run_task(AWAY, system.sync())
    head = 8 * world.superblock.transaction(AWAY)
    written = [place for place, one in enumerate(world.disk.log) if isinstance(one, Write) and one.lba == head]
    cut = Cut(world.disk.base, world.disk.log)
    cut.move_to(written[-1] + 1)
    world.power_failure(cut.left(random.Random(1), 0.0, torn=False))
    return world, file


@pytest.mark.parametrize("seed", range(6))
def test_after_a_power_failure_all_journals_are_replayed_before_anybody_uses_anything(seed: int) -> None:  # S7.3
    world, file = one_that_stays_away(seed)
    for number in (0, 1):
        world.power_on(number)
    for number in (0, 1):
        world.run_until(partial(world.usable, number))
        assert world.run_task(number, world.system(number).getattr(file)).size == 3


def looked_at_by_two(patch: pytest.MonkeyPatch) -> list[int]:
    """Of two nodes that mount, one stops when it is about to replay the journal of a third. What the other sees."""
    world, file = one_that_stays_away(1)
    go = Signal()
    replay_at_once = mount._replay_at_once
    came: list[int] = []

    def slow(blocks: Any, superblock: Any, slot: int, held: Any) -> Task[bool]:
        if slot == AWAY:
            came.append(slot)
            if len(came) == 1:
                yield go
        found = yield from replay_at_once(blocks, superblock, slot, held)
        return found

    patch.setattr(mount, "_replay_at_once", slow)
    for number in (0, 1):
        world.power_on(number)
    world.run_until(lambda: came)
    world.run(3000)
    if any(stack.system is not None for stack in world.stacks.values()):
        number = next(number for number in (0, 1) if world.stacks[number].system is not None)
        return [world.run_task(number, world.system(number).getattr(file)).size]
    for stack in world.stacks.values():
        world.do(stack, go.fire)
    seen = []
    for number in (0, 1):
        world.run_until(partial(world.usable, number))
        seen.append(world.run_task(number, world.system(number).getattr(file)).size)
    return seen


def test_two_that_mount_at_once_do_not_take_each_other_for_the_user_of_a_third_journal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert looked_at_by_two(monkeypatch) == [3, 3]
    monkeypatch.undo()
    lock, other = mount._lock, count()  # and if each who mounts had a lock of its own they would:
    monkeypatch.setattr(
        mount, "_lock", lambda sb, key, mode: lock(sb, (MOUNT, next(other)) if key[0] == MOUNT else key, mode)
    )
    assert looked_at_by_two(monkeypatch) == [6]


def test_a_file_that_only_a_dead_node_had_open_is_deleted_by_the_others() -> None:
    world = three(7)
    system = world.system(0)
    file = world.run_task(0, system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    world.run_task(0, system.write(file, 0, bytes(50_000), 1))
    world.run_task(2, world.system(2).open(file))
    world.run_task(1, world.system(1).unlink(system.root, b"file", 2))
    assert world.run_task(2, world.system(2).read(file, 0, 5)) == bytes(5)
    assert world.run_task(0, world.system(0).getattr(file)).nlink == 0
    assert world.leave(1)  # whose list it is on
    world.run_until(lambda: world.nodes[1].level is None)
    world.kill(2)
    world.run_until(lambda: world.view.entries[2].state is NodeState.FORCED_LEAVING)
    for _ in range(12):
        world.run(200)
        world.run_task(0, world.system(0).sync())
    with pytest.raises(FsError, match="ESTALE"):
        world.run_task(0, world.system(0).getattr(file))
    assert world.leave(0)
    world.run_until(lambda: world.nodes[0].level is None)
    report = check(world.disk.now, world.blocks)
    assert (report.wrong, report.notes) == ([], [])


def test_a_journal_that_cannot_be_read_stops_everybody_and_says_why() -> None:
    world = three(4)
    system = world.system(0)
    file = world.run_task(0, system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    world.run_task(0, system.fsync(file))
    world.disk.now[8 * world.superblock.head(0)] = bytes(512)
    world.kill(0, noticed_ms=10)
    world.run_until(lambda: world.view.entries[0].state is NodeState.INACTIVE)
    for number in (1, 2):
        assert "journal of node 0" in str(world.system(number).failed)
    world.power_on(0)
    world.run_until(lambda: world.view.entries[0].state is NodeState.JOINED)
    assert "begins with" in str(world.stacks[0].level.refused)


def test_a_node_without_a_journal_in_this_file_system_joins_without_it() -> None:
    world = SfsWorld(5)
    world.superblock, world.disk.now = formatted(3000, 2)
    for number in range(3):
        world.power_on(number)
    world.run_until(lambda: all(entry.state is NodeState.JOINED for entry in world.view.entries))
    assert not world.usable(2)
    assert world.stacks[2].level.refused == "the file system has journals for 2 nodes, this is node 2"
    assert world.usable(0)


def test_a_file_system_that_is_made_after_the_join_can_be_mounted() -> None:
    world = SfsWorld(6)
    made = dict(world.disk.now)
    world.disk.now.clear()
    for number in range(3):
        world.power_on(number)
    world.run_until(lambda: all(entry.state is NodeState.JOINED for entry in world.view.entries))
    assert "begins with" in str(world.stacks[1].level.refused)
    world.disk.now.update(made)
    for number in (0, 1):
        world.do(world.stacks[number], world.stacks[number].level.mount_again)
    assert world.leave(1)  # it waits for the mount
    world.run_until(lambda: world.usable(0) and world.nodes[1].level is None)
    root = world.system(0).root
    world.run_task(0, world.system(0).create(root, b"file", 0o600, 0, 0, 1))
    assert world.leave(0)
    assert world.leave(2)  # which has not mounted
    world.run_until(lambda: all(node.level is None for node in world.nodes))
    report = check(world.disk.now, world.blocks)
    assert (report.wrong, report.notes) == ([], [])


def test_only_the_first_one_looks_at_the_journals_that_nobody_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    world = SfsWorld(1, Options(nodes=6, view_ms_max=1, delay_ms_max=5))
    look = mount._replay_unless_used
    looked: list[int] = []

    def counted(blocks: Any, superblock: Any, slot: int) -> Task[bool]:
        looked.append(slot)
        return look(blocks, superblock, slot)

    monkeypatch.setattr(mount, "_replay_unless_used", counted)
    for number, expected in ((0, [1, 2, 3, 4, 5]), (1, [0]), (2, [0, 1])):
        looked.clear()
        world.power_on(number)
        world.run_until(partial(world.usable, number))
        assert looked == expected
    assert world.leave(0)
    world.run_until(lambda: world.nodes[0].level is None)
    looked.clear()
    world.power_on(3)
    world.run_until(partial(world.usable, 3))
    assert looked == [0, 1, 2]  # it has been claimed; that it was given back is found out
    looked.clear()
    world.power_on(4)
    world.run_until(partial(world.usable, 4))
    assert looked == [1, 2, 3]
