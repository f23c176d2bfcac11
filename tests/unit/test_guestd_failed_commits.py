"""Commits that the disk says it could not write, and wrote (S3.3)."""

from __future__ import annotations

import random

import pytest

from guestd.core.effects import ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.membership import layout
from guestd.membership.records import decode_commit
from guestd.membership.view import View
from hil.sim.run import run
from tests.mutations.catalogue import BY_NAME
from tests.unit.guestd_slow import SlowWorld
from tests.unit.reservable_disk import ReservableDisk


class DoubtfulDisk(ReservableDisk):
    """Of the writes of commits some land, and are answered as failed. `views` are those that landed."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size)
        self.randomness = random.Random(seed)
        self.share = 0.0
        self.epochs_only = False  # only the first commit of an epoch fails, and that once
        self.reads_to_fail = dict.fromkeys(range(3), 0)  # so many reads of that node fail
        self.failed = 0
        self.views: list[View] = []

    def execute(
        self, node: int, command: WriteSectors | ReadSectors | ScsiCommand
    ) -> WriteDone | ReadDone | ScsiDone | None:
        done = super().execute(node, command)
        if isinstance(done, ReadDone) and self.reads_to_fail[node]:
            self.reads_to_fail[node] -= 1
            return ReadDone(done.tag, False, b"")
        if not isinstance(command, WriteSectors) or not isinstance(done, WriteDone) or not done.ok:
            return done
        owner, sector = divmod(command.lba - layout.REGIONS_LBA, layout.REGION_SECTORS)
        if sector == layout.COMMIT_SECTOR:
            commit = decode_commit(bytes.fromhex("00112233445566778899aabbccddeeff"), owner, command.data[:512], 3)
            assert commit is not None
            self.views.append(commit.view)
            again = self.views.count(commit.view) > 1
            spared = self.epochs_only and (commit.view.step > 0 or again)
            if not spared and self.randomness.random() < self.share:
                self.failed += 1
                self.reads_to_fail[node] = 6 if self.epochs_only else 0
                return WriteDone(command.tag, False)
        return done


def booting(seed: int) -> tuple[SlowWorld, DoubtfulDisk]:
    randomness = random.Random(seed)
    world = SlowWorld(3, seed, lambda _node, _order, _position: randomness.choice([5, 60, 150]))
    disk = DoubtfulDisk(len(world.disk), seed)
    disk.data[:] = world.device.data
    world.device = disk
    return world, disk


@pytest.mark.parametrize("seed", range(8))
def test_a_commit_that_failed_and_landed_is_not_written_otherwise_under_its_number(seed: int) -> None:  # S2.6, S3.3
    world, disk = booting(seed)
    disk.share = 0.8
    world.power_on()
    world.run(8000)
    disk.share = 0.0
    world.run_until(world.all_joined)
    assert disk.failed > 3
    known: dict[tuple[int, int], View] = {}
    assert [view for view in disk.views if known.setdefault(view.order, view) != view] == []


def test_a_disk_that_fails_is_not_asked_again_at_once() -> None:  # S5.3
    world, disk = booting(1)
    world.power_on()
    world.run_until(lambda: disk.views)
    disk.share = 1.0
    before = len(disk.views)
    world.run(1000)
    assert 2 <= len(disk.views) - before <= 25


@pytest.mark.parametrize("seed", range(12))
def test_of_the_epoch_before_one_that_may_have_begun_nothing_is_written(seed: int) -> None:  # S2.6, S3.3
    """Transitions go on all the time. The first commit of an epoch fails and lands, and reads fail after it."""
    world, disk = booting(seed)
    randomness = random.Random(seed)
    world.power_on(0, 1)
    world.run_until(lambda: world.all_joined(0, 1))
    disk.epochs_only = True
    disk.share = 1.0
    world.power_on(2)
    world.run(randomness.randint(200, 900))
    world.order(2, "leave")
    world.run(randomness.randint(200, 900))
    disk.share = 0.0
    world.run_until(lambda: not world.machines[2].running or world.all_joined())
    world.run(5000)
    orders = [view.order for view in disk.views]
    assert orders == sorted(orders)
    assert disk.failed > 0


def test_a_master_that_does_not_know_whether_its_epoch_has_begun_goes_on_with_none() -> None:  # S2.6, S3.3
    """With the former epoch it went on, over the commit that had failed and landed, and that others had read."""
    found = run(BY_NAME["number-used-again"].options(6))
    assert found.violation is None, found.command
