"""Looks over the file system on a virtual disk, from the shared disk alone: VDM's tables, each copy, its file system.

    found = examine(read)                 # read(LBA, count) -> the bytes; fewer if it cannot be read
    found.wrong                           # [] if nothing is
    found.notes                           # what is no fault

Reads only, and asks nobody, so the disk may be in use: everything is read again at the end, and if it has changed the
whole is done again. What was found is what stood there at one moment then; if that does not come, a note says so.
"""

from __future__ import annotations

import zlib

from guestd.core.config import NODES_MAX
from guestd.core.value import Value, replace
from guestd.membership.sector import Damaged, owner
from guestd.sfs import fsck
from guestd.sfs.block import BLOCK_SIZE, SECTORS
from guestd.sfs.level import VIRTUAL_DISK
from guestd.vdm import layout, records, tables
from guestd.vdm.errors import TablesRefused
from guestd.vdm.extents import places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from guestd.vdm.records import Disk
    from guestd.vdm.tables import Loaded

    Read = Callable[[int, int], bytes]

READS_MAX = 5
"""How often it is begun anew because the disk has changed meanwhile."""
_CHUNK = layout.UNIT_BLOCKS  # of two copies, compared at a time


class CannotCheck(Exception):
    """There is nothing that could be checked; says why."""


class Examined(Value):
    """What was found; wrong and notes are sentences."""

    disk: str
    copies: int
    blocks: int  # of 4096 bytes
    wrong: tuple[str, ...]
    notes: tuple[str, ...]


def examine(read: Read, name: str = VIRTUAL_DISK) -> Examined:
    """Of the virtual disk of that name. Raises CannotCheck: no tables, no such virtual disk, no file system on it."""
    found, changed = _attempt(read, name)
    for _ in range(READS_MAX - 1):
        if not changed:
            break
        found, changed = _attempt(read, name)
    if isinstance(found, CannotCheck):
        raise found
    if not changed:
        return found
    late = f"the disk changed while it was read, {READS_MAX} times: what is said may be of a change under way"
    return replace(found, notes=(*found.notes, late))


def as_json(found: Examined) -> dict[str, Any]:
    """For programs."""
    told = {"disk": found.disk, "copies": found.copies, "blocks": found.blocks}
    return {**told, "wrong": list(found.wrong), "notes": list(found.notes)}


def lines(found: Examined) -> list[str]:
    """For people; the last one is a summary."""
    count = len(found.wrong)
    summary = "nothing is wrong" if not count else "1 thing is wrong" if count == 1 else f"{count} things are wrong"
    return [*(f"wrong: {line}" for line in found.wrong), *(f"note: {line}" for line in found.notes), summary]


# -- inner workings


def _remembered(read: Read, seen: dict[tuple[int, int], int]) -> Read:
    def reading(lba: int, count: int) -> bytes:
        data = read(lba, count)
        seen[lba, count] = zlib.crc32(data)
        return data

    return reading


def _attempt(read: Read, name: str) -> tuple[Examined | CannotCheck, bool]:
    """What was found, and whether anything of what was read has changed meanwhile."""
    seen: dict[tuple[int, int], int] = {}
    found: Examined | CannotCheck
    try:
        found = _examine(_remembered(read, seen), read, name)
    except CannotCheck as why:
        found = why
    return found, any(zlib.crc32(read(lba, count)) != crc for (lba, count), crc in seen.items())


def _examine(read: Read, read_again: Read, name: str) -> Examined:
    cluster_id, loaded = _tables(read)
    slot, disk = _find(loaded, name)
    nodes, is_mirror = loaded.tables.header.nodes, len(disk.copies) > 1
    blocks = disk.units * layout.UNIT_BLOCKS // SECTORS
    dirty = _dirty(read, cluster_id, nodes, slot, disk, []) if is_mirror else []
    reports = [_check(read, disk, copy, blocks, dirty) for copy in range(len(disk.copies))]
    wrong = [f"VDM's tables: {record}: {why}" for record, why in loaded.damaged]
    notes = []
    if loaded.intent is not None and loaded.repairs:
        notes.append(f"the next node that reads VDM's tables completes: {loaded.intent.operation}")
    wrong += _told([report.wrong for report in reports])
    notes += _told([report.notes for report in reports])
    if is_mirror:
        _compare(read_again, cluster_id, nodes, slot, disk, wrong, notes)
    return Examined(name, len(disk.copies), blocks, tuple(wrong), tuple(notes))


def _tables(read: Read) -> tuple[bytes, Loaded]:
    """The cluster's id and the tables. Raises CannotCheck."""
    sectors = [read(layout.TABLES_LBA + place, 1) for place in range(layout.tables_blocks(NODES_MAX))]
    if not any(sectors):
        raise CannotCheck(f"there are no virtual disks: nothing can be read at byte {layout.VOLUMES_OFFSET}")
    if not any(any(sector) for sector in sectors):
        raise CannotCheck(f"there are no virtual disks: the disk is empty at byte {layout.VOLUMES_OFFSET}")
    headers = [sectors[layout.header_lba(copy) - layout.TABLES_LBA] for copy in range(layout.COPIES)]
    cluster_id = next(filter(None, (owner(header, layout.FORM) for header in headers)), bytes(16))
    try:
        return cluster_id, tables.load(cluster_id, sectors)
    except TablesRefused as why:
        raise CannotCheck(f"the tables of virtual disks cannot be believed: {why}") from None


def _find(loaded: Loaded, name: str) -> tuple[int, Disk]:
    found = loaded.tables.find(name)
    if found is None:
        names = ", ".join(sorted(disk.name for disk in loaded.tables.disks if disk is not None)) or "none"
        raise CannotCheck(f"there is no virtual disk {name!r} (there are: {names})")
    return found


def _check(read: Read, disk: Disk, copy: int, blocks: int, dirty: list[tuple[int, int]]) -> fsck.Report:
    """dirty: what the next recovery copies from copy 1 to copy 2 is looked at as if it had been."""

    def block(number: int) -> bytes:
        at = 0 if _any(dirty, number * SECTORS, SECTORS) else copy
        (place, _), *_ = places(disk.copies[at], layout.UNIT_BLOCKS, number * SECTORS, SECTORS)
        return read(layout.EXTENTS_LBA + place, SECTORS)

    if block(0) == bytes(BLOCK_SIZE):
        raise CannotCheck(f"there is no file system on {disk.name!r}: its first block is empty")
    return fsck.check(block, blocks)


def _told(by_copy: list[list[str]]) -> list[str]:
    """What is the same in all copies once, else with the copy."""
    if all(told == by_copy[0] for told in by_copy):
        return by_copy[0]
    return [f"copy {copy + 1}: {line}" for copy, told in enumerate(by_copy) for line in told]


def _compare(
    read: Read, cluster_id: bytes, nodes: int, slot: int, disk: Disk, wrong: list[str], notes: list[str]
) -> None:
    """The two copies of a mirror.

    A node marks a region in its log before it writes there. So the copies are read first and the logs afterwards; what
    differs and is in no log is read once more, for a write that had ended when the logs were read.
    """
    differ = [
        block for block in range(0, disk.units * layout.UNIT_BLOCKS, _CHUNK) if _differ(read, disk, block, _CHUNK)
    ]
    if not differ:
        return
    dirty = _dirty(read, cluster_id, nodes, slot, disk, notes)
    silent = [block for block in differ if not _any(dirty, block, _CHUNK) and _differ(read, disk, block, _CHUNK)]
    explained = [block for block in differ if block not in silent and _differ(read, disk, block, _CHUNK)]
    if explained:
        where = _ranges(block // SECTORS for block in explained)
        notes.append(f"the copies differ where a node was writing, as its log says, near the blocks {where}")
    if silent:
        found = [one for block in silent for one in range(block, block + _CHUNK, SECTORS)]
        where = _ranges(block // SECTORS for block in found if _differ(read, disk, block, SECTORS))
        wrong.append(f"the copies differ in the blocks {where}, and no dirty-region log explains it")


def _differ(read: Read, disk: Disk, block: int, count: int) -> bool:
    one, two = (_read_copy(read, disk, copy, block, count) for copy in range(layout.COPIES))
    return one != two


def _read_copy(read: Read, disk: Disk, copy: int, block: int, count: int) -> bytes:
    found = places(disk.copies[copy], layout.UNIT_BLOCKS, block, count)
    return b"".join(read(layout.EXTENTS_LBA + place, piece) for place, piece in found)


def _dirty(read: Read, cluster_id: bytes, nodes: int, slot: int, disk: Disk, notes: list[str]) -> list[tuple[int, int]]:
    """Blocks in which the copies may differ: (first, number)."""
    found = []
    for node in range(nodes):
        try:
            log = records.decode_log(cluster_id, node, slot, read(layout.log_lba(node, slot), 1))
        except (Damaged, ValueError) as why:
            notes.append(f"the dirty-region log of node {node} cannot be believed, so any region may differ: {why}")
            return [(0, disk.units * layout.UNIT_BLOCKS)]
        if log is not None and log.id == disk.id:
            size = log.region_blocks
            found += [(size * region, size) for region in range(log.dirty.bit_length()) if log.dirty >> region & 1]
    return found


def _any(ranges: list[tuple[int, int]], block: int, count: int) -> bool:
    return any(first < block + count and block < first + size for first, size in ranges)


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers in ascending order, in few words."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] + 1 == number:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in found)
