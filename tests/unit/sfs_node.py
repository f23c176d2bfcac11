"""A node with the file system that is alone in its cluster: engine, lock manager, and a disk in memory."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guestd.core.disk import Disk
from guestd.core.effects import Effect, ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.dlm.change import SPREAD, STOP, Change
from guestd.dlm.desk import LockDesk
from guestd.dlm.manager import LockManager
from guestd.sfs import fsck, mkfs
from guestd.sfs.filesystem import FileSystem
from guestd.sfs.mount import mount
from guestd.sfs.superblock import Superblock
from guestd.tasks.engine import SYNCHRONIZE_CACHE, Engine, Outcome
from guestd.vdm.volume import Volume
from tests.unit.sfs_disk import SECTOR, CachedDisk

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

UUID = bytes(range(100, 116))


def formatted(blocks: int, slots: int = 1, journal_blocks: int | None = None) -> tuple[Superblock, dict[int, bytes]]:
    """The sectors of a new file system, on a disk that is full of rubbish."""
    superblock = mkfs.layout(blocks, UUID, slots=slots, journal_blocks=journal_blocks)
    rubbish = random.Random(1).randbytes(SECTOR)
    sectors = dict.fromkeys(range(8 * blocks), rubbish)
    for number, block in mkfs.make(superblock, 1):
        for place in range(8):
            sectors[8 * number + place] = block[SECTOR * place : SECTOR * (place + 1)]
    return superblock, sectors


def check(sectors: dict[int, bytes], blocks: int) -> fsck.Report:
    """fsck of an image."""
    return fsck.check(
        lambda number: b"".join(sectors.get(8 * number + place, bytes(512)) for place in range(8)), blocks
    )


class SoloNode:
    """Tasks run to their end before anything else happens, but for those that are started together."""

    def __init__(self, disk: CachedDisk, blocks: int) -> None:
        self.disk = disk
        self.effects: list[Effect] = []
        self.queue = Disk(self.effects)
        manager = LockManager(bytes(16), 0, 1)
        manager.found({})
        for barrier in (STOP, SPREAD):
            manager.told([(Change(0, 1, "join"), barrier)])
        self.desk = LockDesk(manager)
        self.engine = Engine(self.queue, lambda: self.desk)
        self.volume = Volume(0, 8 * blocks)
        self.broken: set[int] = set()
        """Sectors of which every command fails."""

    def mount(self, incarnation: int = 1) -> FileSystem:
        system: FileSystem = self.run(mount(self.volume, 0, incarnation, self.engine.start))
        return system

    def run(self, task: Task[Any]) -> Any:
        """Its result; raises its exception."""
        outcomes: list[Outcome] = []
        self.engine.start(task, outcomes.append)
        self.settle()
        assert len(outcomes) == 1, "it waits for something"
        return outcomes[0].get()

    def settle(self) -> None:
        while self.desk.tell() or self.effects:
            taken, self.effects[:] = self.effects[:], []
            for effect in taken:
                self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, WriteSectors):
            ok = self.broken.isdisjoint(range(effect.lba, effect.lba + len(effect.data) // SECTOR))
            if ok:
                self.disk.write(effect.lba, effect.data, durable=effect.durable)
            self.queue.done(WriteDone(effect.tag, ok))
        elif isinstance(effect, ReadSectors):
            ok = self.broken.isdisjoint(range(effect.lba, effect.lba + effect.count))
            self.queue.done(ReadDone(effect.tag, ok, self.disk.read(effect.lba, effect.count) if ok else b""))
        else:
            assert isinstance(effect, ScsiCommand)
            assert effect.cdb == SYNCHRONIZE_CACHE
            self.disk.flush()
            self.queue.done(ScsiDone(effect.tag, 0))


def make_image(path: Path, blocks: int, slots: int = 1) -> None:
    """A new file system in a file of that many blocks."""
    with path.open("wb") as file:
        file.truncate(4096 * blocks)
        for number, block in mkfs.make(mkfs.layout(blocks, UUID, slots=slots), 1):
            file.seek(4096 * number)
            file.write(block)


def check_image(path: Path) -> fsck.Report:
    """fsck of a file."""
    data = path.read_bytes()
    return fsck.check(lambda number: data[4096 * number : 4096 * (number + 1)], len(data) // 4096)
