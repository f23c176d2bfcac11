"""The virtual disks of one node: create, grow, shrink, mirror, delete, list, open (spec S7.2). All are tasks.

    disks = VirtualDisks(cluster_id, node, nodes, engine.start)
    engine.start(disks.create("shared", 8192), then)
    volume = yield from disks.open("shared")
    yield from volume.write(0, data)
    yield from volume.close()

A change is made under the tables' lock in EX (`tables.py`). Who holds that lock waits for the disk alone, and for no
other lock. Sizes are blocks of 512 bytes, rounded up to units of 64 KiB. Every task raises DiskError and TablesRefused.
"""

from __future__ import annotations

from guestd.dlm.messages import Reason
from guestd.dlm.modes import Mode
from guestd.membership.sector import SECTOR_SIZE, Damaged, unseal
from guestd.tasks.steps import Convert, DiskError, Read, Refused, Write
from guestd.vdm import layout, locks, plans, records, tables
from guestd.vdm.dirty import DirtyLog
from guestd.vdm.errors import DiskInUse, NodeLeaves, TablesRefused, UnknownDisk
from guestd.vdm.extents import free
from guestd.vdm.listing import FIXED, Listed, listed
from guestd.vdm.records import check_name
from guestd.vdm.resync import initial, resynchronise
from guestd.vdm.virtual_disk import VirtualDisk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.tasks.steps import Held, Task
    from guestd.vdm.records import Disk
    from guestd.vdm.tables import Tables, Writes

    Plan = Callable[[Tables], tuple[int, Disk | None]]


class VirtualDisks:
    """One life of one node."""

    __slots__ = (
        "_last",
        "_logs",
        "_tables",
        "cluster_id",
        "leaving",
        "node",
        "nodes",
        "owners",
        "region_blocks",
        "start",
        "volumes",
        "writers",
    )

    def __init__(self, cluster_id: bytes, node: int, nodes: int, start: Callable[[Task[Any]], None]) -> None:
        """start: begins a task that must succeed, as `Engine.start`."""
        self.cluster_id = cluster_id
        self.node = node
        self.nodes = nodes
        self.start = start
        self.owners = locks.Owners()
        self.volumes: list[VirtualDisk] = []  # that are open
        self._logs: dict[int, DirtyLog] = {}  # by id of the mirror
        self._tables: Tables | None = None  # as they were last read or written
        self._last: Tables | None = None  # the same, also when it is not known what stands there now
        self.region_blocks = 0  # of the dirty-region logs, when the tables have been read
        self.leaving = False
        self.writers = locks.Writers()

    # -- what users ask for

    def list_all(self) -> Task[list[Listed]]:
        """All virtual disks, those at fixed places first, then by name."""
        found = yield from self.view()
        return [*FIXED, *sorted((listed(disk) for disk in found.disks if disk), key=lambda one: one.name)]

    def free_blocks(self) -> Task[int]:
        """What is left for new ones."""
        found = yield from self.view()
        return sum(gap.count for gap in free(found.disks, found.header.units)) * layout.UNIT_BLOCKS

    def create(self, name: str | bytes, blocks: int, *, mirrored: bool = False) -> Task[None]:
        """A new one; what its blocks hold is whatever lay there. Raises BadName, BadSize, NameTaken, NoRoom."""
        text = check_name(name)
        units = plans.units_of(blocks)
        yield from self._change("create", lambda now: plans.created(now, text, units, 2 if mirrored else 1))

    def grow(self, name: str | bytes, blocks: int) -> Task[None]:
        """To that size. Raises UnknownDisk, FixedDisk, BadSize, NoRoom."""
        text = check_name(name)
        units = plans.units_of(blocks)
        disk = yield from self._change("grow", lambda now: plans.grown(now, text, units))
        assert disk is not None, "it has grown"
        yield from self._tell_grown(disk)

    def shrink(self, name: str | bytes, blocks: int) -> Task[None]:
        """To that size. Raises UnknownDisk, FixedDisk, BadSize, DiskInUse."""
        text = check_name(name)
        units = plans.units_of(blocks)
        yield from self._change("shrink", lambda now: plans.shrunk(now, text, units), alone=True)

    def mirror(self, name: str | bytes) -> Task[None]:
        """Give it a second copy. Raises UnknownDisk, FixedDisk, DiskInUse, NoRoom; BadSize if it has one."""
        text = check_name(name)
        yield from self._change("mirror", lambda now: plans.mirrored(now, text), alone=True)

    def delete(self, name: str | bytes) -> Task[None]:
        """Its units are free for others. Raises UnknownDisk, FixedDisk, DiskInUse."""
        text = check_name(name)
        yield from self._change("delete", lambda now: plans.deleted(now, text), alone=True)

    def open(self, name: str | bytes, *, recovery: bool = False) -> Task[VirtualDisk]:
        """To be closed by `VirtualDisk.close`. Raises UnknownDisk, FixedDisk.

        recovery: the level above needs it for its own join, or for its own recovery after a dead node: then it does
        not wait for the end of any recovery. Whoever takes the tables' lock completes what the dead node has left.
        """
        text = check_name(name)
        while True:
            found = yield from self.view(recovery=recovery)
            slot, disk = plans.find(found, text)
            volume = VirtualDisk(self, slot, disk)
            try:
                yield from volume.attach(recovery=recovery)
            except UnknownDisk:
                continue  # deleted in between; and perhaps made anew
            return volume

    def close_all(self) -> Task[None]:
        """This node leaves: nothing is begun any more. Raises DiskError."""
        self.leaving = True
        for volume in list(self.volumes):
            yield from volume.close()
        yield from self.writers.close()

    # -- the tables

    def view(self, *, recovery: bool = False) -> Task[Tables]:
        """As they are now; read if somebody has changed them. recovery: as in `open`.

        Who finds them in need of repair waits for their lock in EX, and they are sound when this ends. If only the
        lock's value lacks their number, somebody who is alone with them leaves it there, and nobody waits for that.
        """
        self.check_leaving()
        held = locks.Locks(self.owners)
        lock = yield from held.take(locks.TABLES, Mode.PR, recovery=recovery)
        try:
            found, repairs = yield from self._current(lock)
            if not repairs and not (lock.valid and locks.sequence_in(lock.value)):
                yield from self._tell_sequence(held, lock, found.sequence)
        except Exception:
            yield from held.drop_all()
            raise
        yield from held.drop_all()
        if repairs:  # and by then the value block has their number, for all others
            found = yield from self.repair(recovery=recovery)
        return found

    def repair(self, *, recovery: bool = False) -> Task[Tables]:
        """Complete what a dead node had begun, and heal what is damaged. recovery: as in `Acquire`."""
        held = locks.Locks(self.owners)
        lock = yield from held.take(locks.TABLES, Mode.EX, recovery=recovery)
        yield from self._enter(held)
        try:
            try:
                now = yield from self._repaired(lock)
            finally:
                self.writers.leave()
        except Exception:
            yield from self._end(held, lock)
            raise
        yield from self._end(held, lock)
        return now

    def read_record(self, slot: int) -> Task[Disk | None]:
        """A record as it is on the disk, without the tables' lock: what was written of it has been decided on."""
        newest: tuple[int, Disk | None] | None = None
        wrong = []
        for copy in range(layout.COPIES):
            try:
                data = yield Read(layout.disk_lba(slot, copy), 1)
                frame = unseal(self.cluster_id, layout.RECORD_DISK, slot, data, layout.FORM)
                if frame is None:
                    raise Damaged("was never written")
                disk = records.disk_in(frame.body)
            except (DiskError, Damaged, ValueError) as why:
                wrong.append(f"record {slot}, copy {copy + 1}: {why}")
            else:
                if newest is None or frame.sequence > newest[0]:
                    newest = frame.sequence, disk
        if newest is None:
            raise TablesRefused("; ".join(wrong))
        return newest[1]

    def check_leaving(self) -> None:
        """Raises NodeLeaves."""
        if self.leaving:
            raise NodeLeaves("this node leaves the cluster")

    def log(self, slot: int, identity: int) -> DirtyLog:
        """This node's log of that mirror."""
        if identity not in self._logs:
            self._logs[identity] = DirtyLog(self.cluster_id, self.node, slot, identity, self.region_blocks)
        return self._logs[identity]

    def tidy(self, log: DirtyLog, slot: int, identity: int) -> Task[None]:
        """Bring what has failed into step again, and leave nothing in the log that need not be there."""
        failed = log.failed
        if failed:
            yield from resynchronise(self, slot, identity, failed, self.region_blocks, log)
        yield from log.clean()

    # -- inner workings

    def _current(self, lock: Held) -> Task[tuple[Tables, Writes]]:
        """Under their lock: the tables, and what is to be repaired before they are changed."""
        if self._tables is not None and lock.valid and locks.sequence_in(lock.value) == self._tables.sequence:
            return self._tables, ()
        self._tables = None  # whatever becomes of the reading: it is not what the lock's value is of
        sectors, unread = yield from self._read_sectors()
        try:
            loaded = tables.load(self.cluster_id, sectors, self._last)
        except TablesRefused as why:
            if unread is not None:
                raise unread from why
            raise
        self.region_blocks = loaded.tables.header.region_blocks
        if not loaded.repairs:
            self._tables = self._last = loaded.tables
        return loaded.tables, loaded.repairs

    @staticmethod
    def _tell_sequence(held: locks.Locks, lock: Held, sequence: int) -> Task[None]:
        """Leave the number of the tables, read under that lock in PR, for whoever comes next; or leave it to others.

        The number spares others a read, and is needed for nothing: what was read under PR is as true as what a value
        says, since nobody writes meanwhile but who holds EX, a dead node writes no more, and what one had begun would
        have been in need of repair. So nobody waits for it: of many who read at the same time the last one to end is
        alone, and gets EX; for the others it goes without saying. It is a conversion, so that nobody has changed the
        tables since they were read. Nothing is written on the disk: a node that leaves need not wait for this.
        """
        try:
            alone = yield Convert(lock.number, Mode.EX, noqueue=True)
        except Refused as why:
            if why.reason is not Reason.AGAIN:
                raise
            return
        yield from held.drop(alone, locks.block_of(sequence))

    def _read_sectors(self) -> Task[tuple[list[bytes], DiskError | None]]:
        """Both copies and all intents; what cannot be read is empty."""
        count = layout.tables_blocks(self.nodes)
        try:
            data = yield Read(layout.TABLES_LBA, count)
            return [data[start : start + SECTOR_SIZE] for start in range(0, len(data), SECTOR_SIZE)], None
        except DiskError as why:
            unread = why
        found = []
        for lba in range(layout.TABLES_LBA, layout.TABLES_LBA + count):
            try:
                found.append((yield Read(lba, 1)))
            except DiskError:
                found.append(b"")
        return found, unread

    def _repaired(self, lock: Held) -> Task[Tables]:
        now, repairs = yield from self._current(lock)
        if repairs:
            yield from self._write(repairs, now)
        return now

    def _change(self, operation: str, plan: Plan, *, alone: bool = False) -> Task[Disk | None]:
        """What is planned, which raises if it is not to be; the record as it is then.

        alone: only while nobody has it open. Raises DiskInUse.
        """
        self.check_leaving()
        held = locks.Locks(self.owners)
        lock = yield from held.take(locks.TABLES, Mode.EX)
        yield from self._enter(held)
        try:
            try:
                slot, disk = yield from self._make(held, lock, operation, plan, alone)
            finally:
                self.writers.leave()
        except Exception:
            yield from self._end(held, lock)
            raise
        yield from self._end(held, lock)
        if disk is not None and len(disk.copies) > 1:
            yield from self.tidy(self.log(slot, disk.id), slot, disk.id)
        return disk

    def _enter(self, held: locks.Locks) -> Task[None]:
        """Begin to write under what is held. Raises NodeLeaves; then the tables' value stays what it is."""
        try:
            self.writers.enter()
        except NodeLeaves:
            yield from held.drop_all()
            raise

    def _make(
        self, held: locks.Locks, lock: Held, operation: str, plan: Plan, alone: bool
    ) -> Task[tuple[int, Disk | None]]:
        now = yield from self._repaired(lock)
        slot, disk = plan(now)
        before = now.disks[slot]
        if alone and before is not None:
            yield from self._take_alone(held, before)
        if disk != before:
            after = tables.with_record(self.cluster_id, now, slot, disk)
            change = self._write(tables.writes(self.cluster_id, self.node, operation, slot, after), after)
            first = plans.unsynchronised(before, disk)
            if first is not None and disk is not None:
                change = initial(self.log(slot, disk.id), disk, first, change)
            yield from change
        return slot, disk

    @staticmethod
    def _take_alone(held: locks.Locks, disk: Disk) -> Task[None]:
        try:
            yield from held.take(locks.of_disk(disk.id), Mode.EX, noqueue=True)
        except Refused as why:
            if why.reason is not Reason.AGAIN:
                raise
            raise DiskInUse(f"{disk.name!r} is open on some node, or is being recovered") from None

    def _end(self, held: locks.Locks, lock: Held) -> Task[None]:
        """What nobody knows for certain is to be read by who comes next: the value is 0 then."""
        yield from held.drop(lock, locks.block_of(self._tables.sequence if self._tables else 0))
        yield from held.drop_all()

    def _write(self, writes: Writes, then: Tables) -> Task[None]:
        self._tables = None  # nobody knows until the last one has ended
        for lba, data in writes:
            yield Write(lba, data, durable=True)
        self._tables = self._last = then

    def _tell_grown(self, disk: Disk) -> Task[None]:
        """Ends when all that have it open know that they have to look again."""
        held = locks.Locks(self.owners)
        try:
            root = yield from held.take(locks.of_disk(disk.id), Mode.CR)
            yield from held.take((*locks.of_disk(disk.id), locks.MAP), Mode.EX, parent=root)
        except Exception:
            yield from held.drop_all()
            raise
        yield from held.drop_all()
