"""Mirrors whose copies may differ: what a dead node was writing, or what nobody has written yet.

A region is resynchronised by copying it from copy 1 to copy 2 while nobody writes to the mirror: the lock `sync` is
held in EX. Which of two copies of a write under way survives does not matter, since nobody was told that it had ended;
that both say the same does.
"""

from __future__ import annotations

from guestd.dlm.modes import Mode
from guestd.membership.sector import SECTOR_SIZE, Damaged
from guestd.tasks.steps import DiskError, Flush, Read, Refused, Write
from guestd.vdm import layout, locks, records
from guestd.vdm.dirty import bits, regions_in
from guestd.vdm.extents import places
from guestd.vdm.records import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.tasks.steps import Task
    from guestd.vdm.dirty import DirtyLog
    from guestd.vdm.manager import VirtualDisks
    from guestd.vdm.records import Disk

CHUNK_BLOCKS = 128  # copied at a time


def initial(log: DirtyLog, disk: Disk, from_unit: int, change: Task[None]) -> Task[None]:
    """Make a change of the tables by which the copies differ from that unit on: those regions are in the log before.

    If this node dies before the tables have it, nobody finds a mirror with that id and those regions; else they are
    resynchronised with the rest of its log. Until then they count as being written to, and afterwards as if a write to
    one of the copies had failed: who resynchronises what has failed must find them in the tables.
    """
    first = from_unit * layout.UNIT_BLOCKS
    regions = log.regions(first, disk.units * layout.UNIT_BLOCKS - first)
    try:
        yield from log.begin(regions)
        yield from change
    finally:
        log.end(regions, failed=True)


def resynchronise(
    manager: VirtualDisks, slot: int, identity: int, dirty: int, region_blocks: int, own: DirtyLog | None = None
) -> Task[None]:
    """Make both copies equal in those regions, on the medium. Nothing, if there is no such mirror any more.

    own: this node's log, for what has failed: somebody else may have done it meanwhile, and it is told while nobody
    writes.
    Serves the recovery: it waits for nobody who might wait for the end of that. Raises DiskError.
    """
    held = locks.Locks(manager.owners)
    root = locks.of_disk(identity)
    try:
        parent = yield from held.take(root, Mode.CR, recovery=True)
        yield from held.take((*root, locks.GATE), Mode.EX, parent=parent, recovery=True)
        yield from held.take((*root, locks.SYNC), Mode.EX, parent=parent, recovery=True)
        manager.writers.enter()
        try:
            disk = yield from manager.read_record(slot)
            dirty &= dirty if own is None else own.failed
            if disk is not None and disk.id == identity and len(disk.copies) > 1:
                for region in regions_in(dirty):
                    yield from _copy_region(disk, region * region_blocks, region_blocks)
                yield Flush()
            if own is not None:
                own.synchronised(dirty)
        finally:
            manager.writers.leave()
    except Exception:
        yield from held.drop_all()
        raise
    yield from held.drop_all()


def recover_logs(manager: VirtualDisks) -> Task[None]:
    """Resynchronise what is in the logs of nodes that do not live, and empty those. Raises DiskError."""
    for node in range(manager.nodes):
        if node == manager.node:
            continue
        held = locks.Locks(manager.owners)
        try:
            yield from held.take(locks.of_node(node), Mode.EX, noqueue=True, recovery=True)
        except Refused:
            continue  # it lives, or somebody else does this
        try:
            yield from recover_log(manager, node)
        except Exception:
            yield from held.drop_all()
            raise
        yield from held.drop_all()


def recover_log(manager: VirtualDisks, node: int) -> Task[None]:
    """The same of one node, which does not live, or is this one before it uses its log."""
    data = yield from _read_log(node)
    if any(any(sector) or not sector for sector in data):
        # Of this very life: it may have died since the tables were last repaired, in the middle of making a mirror.
        yield from manager.repair(recovery=True)
    for slot in range(layout.SLOTS):
        sector = data[slot]
        try:
            log = records.decode_log(manager.cluster_id, node, slot, sector) if sector else None
            if log is None and sector:
                continue
        except (Damaged, ValueError):
            log = None
        if log is None:
            yield from _whole(manager, slot)
        elif log.dirty:
            yield from resynchronise(manager, slot, log.id, log.dirty, log.region_blocks)
        else:
            continue
        sequence = 1 if log is None else log.sequence + 1
        clean = records.encode_log(manager.cluster_id, node, Log(sequence, slot, 0, 0, 0))
        manager.writers.enter()
        try:
            yield Write(layout.log_lba(node, slot), clean, durable=True)
        finally:
            manager.writers.leave()


def _whole(manager: VirtualDisks, slot: int) -> Task[None]:
    """A log that cannot be believed: any region may be dirty."""
    disk = yield from manager.read_record(slot)
    if disk is not None and len(disk.copies) > 1:
        region = manager.region_blocks
        count = -(-disk.units * layout.UNIT_BLOCKS // region)
        yield from resynchronise(manager, slot, disk.id, bits(range(count)), region)


def _read_log(node: int) -> Task[list[bytes]]:
    """By slot; what cannot be read is empty."""
    first = layout.log_lba(node, 0)
    try:
        data = yield Read(first, layout.SLOTS)
        return [data[start : start + SECTOR_SIZE] for start in range(0, len(data), SECTOR_SIZE)]
    except DiskError:
        pass
    found = []
    for lba in range(first, first + layout.SLOTS):
        try:
            found.append((yield Read(lba, 1)))
        except DiskError:
            found.append(b"")
    return found


def _copy_region(disk: Disk, block: int, count: int) -> Task[None]:
    end = min(block + count, disk.units * layout.UNIT_BLOCKS)
    while block < end:
        piece = min(CHUNK_BLOCKS, end - block)
        yield from _copy(disk, block, piece)
        block += piece


def _copy(disk: Disk, block: int, count: int) -> Task[None]:
    """From copy 1, or what cannot be read of that from copy 2."""
    try:
        data = yield from _read_copy(disk, 0, block, count)
        target = 1
    except DiskError:
        data = yield from _read_copy(disk, 1, block, count)
        target = 0
    offset = 0
    for lba, piece in places(disk.copies[target], layout.UNIT_BLOCKS, block, count):
        part = data[offset * SECTOR_SIZE : (offset + piece) * SECTOR_SIZE]
        yield Write(layout.EXTENTS_LBA + lba, part)
        offset += piece


def _read_copy(disk: Disk, copy: int, block: int, count: int) -> Task[bytes]:
    data = []
    for lba, piece in places(disk.copies[copy], layout.UNIT_BLOCKS, block, count):
        data.append((yield Read(layout.EXTENTS_LBA + lba, piece)))
    return b"".join(data)
