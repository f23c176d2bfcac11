"""An open virtual disk: a Volume whose blocks are found through its extents, and written to both copies of a mirror.

Reading and writing take no lock and read no table. What the disk knows of its extents is right for as long as it is
open: extents are never moved, a disk that is open is not deleted, shrunk or mirrored, and one that grows gets more at
its end. Of that it is told by the lock `map`, which it gives up when who made it grow asks for it, and takes again
when that one is done; what is beyond the end that it knows waits for that.

A mirror is written to under the lock `sync`. Who resynchronises it asks for that lock: then this disk lets what is
under way end, begins nothing more, gives the lock up, and goes on when it has it again. It asks through `gate`, which
the other one holds meanwhile; else two disks that are open could have it by turns for ever.
"""

from __future__ import annotations

from guestd.dlm.modes import Mode
from guestd.membership.sector import SECTOR_SIZE
from guestd.tasks.steps import DiskError, Flush, Read, Signal, Together, Write
from guestd.vdm import layout, locks
from guestd.vdm.errors import TablesRefused, UnknownDisk
from guestd.vdm.extents import places
from guestd.vdm.volume import Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.dlm.notices import Blocks
    from guestd.tasks.steps import Held, Task
    from guestd.vdm.dirty import DirtyLog
    from guestd.vdm.manager import VirtualDisks
    from guestd.vdm.records import Disk


class VirtualDisk(Volume):
    """Made by `VirtualDisks.open`. `blocks`: its size as far as this node knows."""

    __slots__ = (
        "_background",
        "_drained",
        "_locks",
        "_log",
        "_manager",
        "_map_lock",
        "_map_wanted",
        "_parent",
        "_remapped",
        "_suspended",
        "_sync_lock",
        "_sync_wanted",
        "_under_way",
        "disk",
        "open",
        "slot",
    )

    def __init__(self, manager: VirtualDisks, slot: int, disk: Disk) -> None:
        super().__init__(0, disk.units * layout.UNIT_BLOCKS)
        self._manager = manager
        self._locks = locks.Locks(manager.owners)
        self.slot = slot
        self.disk = disk
        self.open = False
        self._log: DirtyLog | None = None
        self._parent: Held | None = None
        self._map_lock: Held | None = None
        self._sync_lock: Held | None = None
        self._map_wanted = self._sync_wanted = 0  # the locks of which it was told that somebody waits for them
        self._background: list[Signal] = []  # of its own tasks; each fired at its end
        self._remapped: Signal | None = None  # while it does not know whether it has grown
        self._suspended: Signal | None = None  # while it may not be written to
        self._drained: Signal | None = None  # fired when the last operation under way has ended
        self._under_way = 0

    # -- the volume

    def read(self, block: int, count: int) -> Task[bytes]:
        """As `Volume.read`. Of a mirror, copy 1; what cannot be read there, copy 2."""
        yield from self._enter(block, count)
        try:
            data = []
            first = 0
            for lba, piece in self._places(0, block, count):
                try:
                    data.append((yield Read(lba, piece)))
                except DiskError:
                    if len(self.disk.copies) == 1:
                        raise
                    for other_lba, part in self._places(1, block + first, piece):
                        data.append((yield Read(other_lba, part)))
                first += piece
            return b"".join(data)
        finally:
            self._leave()

    def write(self, block: int, data: bytes, *, durable: bool = False) -> Task[None]:
        """As `Volume.write`. Of a mirror, both copies; it has failed if one of them has."""
        count = len(data) // SECTOR_SIZE
        yield from self._enter(block, count)
        try:
            if self._log is None:
                yield from self._write(0, block, data, durable)
            else:
                yield from self._write_mirror(self._log, block, data, durable)
        finally:
            self._leave()

    def flush(self) -> Task[None]:
        """As `Volume.flush`."""
        log = self._log
        if log is None:
            yield Flush()
            return
        taken = log.flush_begins()
        ok = False
        try:
            yield Flush()
            ok = True
        finally:
            log.flush_ends(taken, ok=ok)

    def close(self) -> Task[None]:
        """Flush, and give it back. Raises DiskError; it is closed all the same."""
        if not self.open:
            return
        self.open = False
        self._manager.volumes.remove(self)
        try:
            yield from self._drain()
            yield from self._drop_sync()
            yield from self.flush()
            if self._log is not None:
                yield from self._manager.tidy(self._log, self.slot, self.disk.id)
        except Exception:
            yield from self._drop_all()
            raise
        yield from self._drop_all()

    # -- for the manager

    def attach(self, *, recovery: bool) -> Task[None]:
        """Take the locks, and find out what it is now. Raises UnknownDisk if it has been deleted."""
        try:
            self._parent = yield from self._locks.take(locks.of_disk(self.disk.id), Mode.CR, recovery=recovery)
            yield from self._take_map(recovery=recovery)
            if len(self.disk.copies) > 1:
                self._log = self._manager.log(self.slot, self.disk.id)
                yield from self._take_sync()
            self._manager.check_leaving()
        except Exception:
            yield from self._locks.drop_all()
            raise
        self.open = True
        self._manager.volumes.append(self)
        self._give_way()

    def look_again(self) -> Task[None]:
        """Read its record: after the recovery of a dead node, which may have made it grow. Raises UnknownDisk."""
        disk = yield from self._manager.read_record(self.slot)
        if disk is None or disk.id != self.disk.id:
            raise UnknownDisk(f"{self.disk.name!r} has been deleted")
        self.disk = disk
        self.blocks = disk.units * layout.UNIT_BLOCKS
        if self._remapped is not None:
            self._remapped.fire()

    # -- inner workings

    def _drop_sync(self) -> Task[None]:
        """First of all: who resynchronises waits for it, and the end of the recovery for him."""
        while self._suspended is not None:
            yield self._suspended
        if self._sync_lock is not None:
            held, self._sync_lock = self._sync_lock, None
            yield from self._locks.drop(held)

    def _drop_all(self) -> Task[None]:
        """What asks for `map` again may wait for the end of a recovery; a leave must not, and ends all locks anyway."""
        if self._manager.leaving:
            return
        while self._background:
            yield self._background[0]
        yield from self._locks.drop_all()

    def _places(self, copy: int, block: int, count: int) -> list[tuple[int, int]]:
        found = places(self.disk.copies[copy], layout.UNIT_BLOCKS, block, count)
        return [(layout.EXTENTS_LBA + lba, piece) for lba, piece in found]

    def _write(self, copy: int, block: int, data: bytes, durable: bool) -> Task[None]:
        offset = 0
        for lba, piece in self._places(copy, block, len(data) // SECTOR_SIZE):
            yield Write(lba, data[offset : offset + piece * SECTOR_SIZE], durable)
            offset += piece * SECTOR_SIZE

    def _write_mirror(self, log: DirtyLog, block: int, data: bytes, durable: bool) -> Task[None]:
        regions = log.regions(block, len(data) // SECTOR_SIZE)
        began = failed = False
        try:
            yield from log.begin(regions)
            began = failed = True
            yield Together(tuple(self._write(copy, block, data, durable) for copy in range(layout.COPIES)))
            failed = False
        finally:
            log.end(regions, cached=began and not durable, failed=failed)

    def _enter(self, block: int, count: int) -> Task[None]:
        """Begin an operation on these blocks."""
        if self.open and block + count > self.blocks and self._remapped is not None:
            yield self._remapped
        while self._suspended is not None:
            yield self._suspended
        if not self.open:
            raise ValueError(f"{self.disk.name!r} is not open")
        self._check(block, count)
        self._under_way += 1

    def _leave(self) -> None:
        self._under_way -= 1
        if not self._under_way and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.fire()

    def _take_map(self, *, recovery: bool = False) -> Task[None]:
        name = (*locks.of_disk(self.disk.id), locks.MAP)
        self._map_lock = yield from self._locks.take(
            name, Mode.PR, parent=self._parent, recovery=recovery, on_blocks=self._grows
        )
        yield from self.look_again()

    def _grows(self, notice: Blocks) -> None:
        """Somebody has made it grow."""
        self._map_wanted = notice.lock
        self._give_way()

    def _resynchronises(self, notice: Blocks) -> None:
        """Somebody resynchronises the mirror."""
        self._sync_wanted = notice.lock
        self._give_way()

    def _give_way(self) -> None:
        """Give up what is waited for. It is told once: what comes too early, or in between, is looked at again."""
        if self.open and self._map_lock is not None and self._map_lock.number == self._map_wanted:
            held, self._map_lock = self._map_lock, None
            self._remapped = Signal()
            self._run(self._map_again(held, self._remapped))
        if self.open and self._sync_lock is not None and self._sync_lock.number == self._sync_wanted:
            held, self._sync_lock = self._sync_lock, None
            self._suspended = Signal()
            self._run(self._suspend(held, self._suspended))

    def _run(self, task: Task[None]) -> None:
        ended = Signal()
        self._background.append(ended)

        def then() -> None:
            self._background.remove(ended)
            ended.fire()

        self._manager.start(self._to_its_end(task, then))

    def _to_its_end(self, task: Task[None], then: Callable[[], None]) -> Task[None]:
        try:
            yield from task
        finally:
            then()
        self._give_way()

    def _map_again(self, held: Held, remapped: Signal) -> Task[None]:
        try:
            yield from self._locks.drop(held)
            if self.open:
                yield from self._take_map()
        except (DiskError, UnknownDisk, TablesRefused):
            pass  # what it knows stays right; it knows no more
        finally:
            if self._remapped is remapped:
                self._remapped = None
            remapped.fire()

    def _take_sync(self) -> Task[None]:
        """Recovery is what this serves: it must not wait for the end of one in which this disk may be needed.

        What passes the locks of a dead node here is safe: it resynchronises no more, and what it had begun to
        resynchronise is still in its log.
        """
        root = locks.of_disk(self.disk.id)
        gate = yield from self._locks.take((*root, locks.GATE), Mode.PR, parent=self._parent, recovery=True)
        sync = yield from self._locks.take(
            (*root, locks.SYNC), Mode.PR, parent=self._parent, recovery=True, on_blocks=self._resynchronises
        )
        yield from self._locks.drop(gate)
        self._sync_lock = sync

    def _suspend(self, held: Held, suspended: Signal) -> Task[None]:
        try:
            yield from self._drain()
            yield from self._locks.drop(held)
            if self.open:
                yield from self._take_sync()
        finally:
            self._suspended = None
            suspended.fire()

    def _drain(self) -> Task[None]:
        """Until nothing is under way."""
        while self._under_way:
            self._drained = self._drained or Signal()
            yield self._drained
