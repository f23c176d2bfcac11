"""What is on the disk in the end: VDM's tables, and the shared file system on its virtual disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestd.core.config import NODES_MAX
from guestd.membership.sector import SECTOR_SIZE
from guestd.sfs import fsck
from guestd.sfs.block import BLOCK_SIZE
from guestd.sfs.level import VIRTUAL_DISK
from guestd.vdm import layout, tables
from guestd.vdm.errors import TablesRefused

if TYPE_CHECKING:
    from mmap import mmap


def wrong_on(medium: bytes | bytearray | mmap, cluster_id: bytes, *, shared: bool) -> list[str]:
    """What is wrong there, a sentence each; that two virtual disks have the same extents too.

    ``shared``: there is a file system.
    """
    start, count = layout.TABLES_LBA, layout.tables_blocks(NODES_MAX)
    sectors = [bytes(medium[lba * SECTOR_SIZE : (lba + 1) * SECTOR_SIZE]) for lba in range(start, start + count)]
    try:
        loaded = tables.load(cluster_id, sectors)
    except TablesRefused as why:
        return [f"the tables of virtual disks: {why}"]
    wrong = [f"the tables of virtual disks: {record}: {why}" for record, why in loaded.damaged]
    if loaded.repairs:
        wrong.append("the tables of virtual disks are not repaired")
    if not shared:
        return wrong
    found = loaded.tables.find(VIRTUAL_DISK)
    if found is None:
        return [*wrong, f"there is no virtual disk {VIRTUAL_DISK!r}"]
    (extent,) = found[1].copies[0]
    first = layout.EXTENTS_OFFSET + extent.first * layout.UNIT_BLOCKS * SECTOR_SIZE

    def read(number: int) -> bytes:
        place = first + number * BLOCK_SIZE
        return bytes(medium[place : place + BLOCK_SIZE])

    return wrong + fsck.check(read, extent.count * layout.UNIT_BLOCKS * SECTOR_SIZE // BLOCK_SIZE).wrong
