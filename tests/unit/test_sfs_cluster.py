"""The file system on several nodes at once."""

from __future__ import annotations

import errno
import random

import pytest

from guestd.sfs.errors import FsError
from tests.unit.sfs_disk import Cut
from tests.unit.sfs_model import random_operations
from tests.unit.sfs_net import SfsWorld
from tests.unit.sfs_node import check
from tests.unit.sfs_users import ERRORS, EVERYTHING, LONG, QUIET, history


def test_three_nodes_mount_and_see_what_the_others_do() -> None:  # S7.3
    world = SfsWorld(1)
    for number in range(3):
        world.power_on(number)
    world.run_until(world.all_usable)
    root = world.system(0).root
    made = world.run_task(0, world.system(0).create(root, b"file", 0o640, 1, 2, 10))
    assert world.run_task(1, world.system(1).lookup(root, b"file")) == made
    world.run_task(1, world.system(1).write(made.inode, 5000, b"from one", 11))
    assert world.run_task(2, world.system(2).read(made.inode, 4998, 100)) == b"\0\0from one"
    world.run_task(2, world.system(2).rename(root, b"file", root, b"other", 0, 12))
    names = [name for name, _, _ in world.run_task(0, world.system(0).readdir(root))]
    assert names == [b".", b"..", b"other"]
    for number in range(3):
        assert world.leave(number)
    world.run_until(lambda: all(node.level is None for node in world.nodes))
    report = check(world.disk.now, world.blocks)
    assert (report.wrong, report.notes) == ([], [])


@pytest.mark.parametrize("seed", range(4))
def test_operations_of_three_nodes_at_once_are_those_of_the_model_in_some_order(seed: int) -> None:  # S7.3
    users = history(seed, QUIET)
    assert users.ledger.count > 100


@pytest.mark.parametrize("seed", range(8))
def test_the_same_with_deaths_leaves_and_power_failures(seed: int) -> None:  # S7.3, A12, A13
    history(seed, EVERYTHING)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_with_much_to_do_between_the_deaths(seed: int) -> None:  # S7.3, A12, A13
    users = history(seed, LONG)
    assert users.ledger.count > 100
    assert len(users.ledger.buried) > 2


def test_a_node_whose_writes_fail_gives_up_and_the_others_go_on() -> None:
    failures = 0
    for seed in range(10, 22):
        users = history(seed, ERRORS)
        failures += sum(stack.failure is not None for stack in users.world.all_stacks)
    assert failures > 3


def test_what_one_node_has_written_and_another_one_has_fsynced_survives_a_power_failure() -> None:
    world = SfsWorld(2)
    for number in range(3):
        world.power_on(number)
    world.run_until(world.all_usable)
    root = world.system(0).root
    file = world.run_task(0, world.system(0).create(root, b"file", 0o640, 1, 2, 10)).inode
    world.run_task(0, world.system(0).write(file, 0, b"of node 0", 11))
    world.run_task(1, world.system(1).fsync(file))
    cut = Cut(world.disk.base, world.disk.log)
    cut.move_to(len(world.disk.log))
    world.power_failure(cut.left(random.Random(1), 0.0, torn=False))
    for number in range(3):
        world.power_on(number)
    world.run_until(world.all_usable)
    assert world.run_task(2, world.system(2).read(file, 0, 99)) == b"of node 0"


@pytest.mark.parametrize("seed", range(3))
def test_the_same_with_caches_that_are_nearly_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guestd.sfs.guards.KEPT_MAX", 6)
    monkeypatch.setattr("guestd.sfs.guards.PAGES_MAX", 2)
    monkeypatch.setattr("guestd.sfs.guards.ALL_PAGES_MAX", 6)
    monkeypatch.setattr("guestd.sfs.journal.DIRTY_MAX", 4)
    monkeypatch.setattr("guestd.sfs.journal.WRITE_BACK_MIN", 2)
    history(seed, EVERYTHING)
    assert random_operations(seed) > 100


def test_a_file_system_that_three_nodes_fill_says_so_to_each_and_is_sound_and_can_be_emptied_by_another() -> None:
    world = SfsWorld(3, blocks=400, journal_blocks=32)
    for number in range(3):
        world.power_on(number)
    world.run_until(world.all_usable)
    root = world.system(0).root

    def fill(number: int) -> int:
        """How many files it made until there was no room."""
        for count in range(200):
            try:
                made = world.run_task(
                    number, world.system(number).create(root, b"%d %d" % (number, count), 0o6, 0, 0, 1)
                )
                written = world.run_task(number, world.system(number).write(made.inode, 0, bytes(30_000), 1))
            except FsError as why:
                assert why.errno == errno.ENOSPC  # noqa: PT017
                return count
            if written < 30_000:
                return count
        raise AssertionError("it is never full")

    counts = [fill(number) for number in (0, 1, 2)]
    assert counts[0] > 10
    for number in range(3):
        with pytest.raises(FsError, match="ENOSPC"):
            world.run_task(number, world.system(number).mkdir(root, b"more", 0o700, 0, 0, 1))
        world.run_task(number, world.system(number).sync())
    assert check(world.disk.now, world.blocks).wrong == []
    for name, _, _ in world.run_task(2, world.system(2).readdir(root))[2:]:
        world.run_task(2, world.system(2).unlink(root, name, 2))
    world.run_task(2, world.system(2).sync())
    assert fill(0) >= counts[0] - 1
    for number in range(3):
        assert world.leave(number)
    world.run_until(lambda: all(node.level is None for node in world.nodes))
    report = check(world.disk.now, world.blocks)
    assert (report.wrong, report.notes) == ([], [])
