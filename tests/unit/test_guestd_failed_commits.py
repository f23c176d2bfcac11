"""Commits that the disk says it could not write, and wrote (S3.3)."""

from __future__ import annotations

import random

import pytest

from guestd.core.effects import ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.membership import layout
from guestd.membership.records import decode_commit
from guestd.membership.view import View
from tests.unit.guestd_slow import SlowWorld
from tests.unit.reservable_disk import ReservableDisk


class DoubtfulDisk(ReservableDisk):
    """Of the writes of commits some land, and are answered as failed. `views` are those that landed."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size)
        self.randomness = random.Random(seed)
        self.share = 0.0
        self.failed = 0
        self.views: list[View] = []

    def execute(
        self, node: int, command: WriteSectors | ReadSectors | ScsiCommand
    ) -> WriteDone | ReadDone | ScsiDone | None:
        done = super().execute(node, command)
        if not isinstance(command, WriteSectors) or not isinstance(done, WriteDone) or not done.ok:
            return done
        owner, sector = divmod(command.lba - layout.REGIONS_LBA, layout.REGION_SECTORS)
        if sector == layout.COMMIT_SECTOR:
            commit = decode_commit(bytes.fromhex("00112233445566778899aabbccddeeff"), owner, command.data[:512], 3)
            assert commit is not None
            self.views.append(commit.view)
            if self.randomness.random() < self.share:
                self.failed += 1
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
