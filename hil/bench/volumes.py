"""The area of volumes of a new disk: VDM's tables, and the shared file system on its virtual disk (spec S7.2, S7.3)."""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Iterator

from guestd.membership.sector import SECTOR_SIZE
from guestd.sfs import mkfs
from guestd.sfs.block import BLOCK_SIZE
from guestd.sfs.level import VIRTUAL_DISK
from guestd.vdm import layout, tables
from guestd.vdm.format import format_volumes

MIB = 1024 * 1024
DEFAULT_MAX = 16 * 1024 * MIB
UNIT = layout.UNIT_BLOCKS * SECTOR_SIZE


def shared_size(disk_mib: int, nodes: int, shared_mib: int | None = None) -> int:
    """Bytes of the virtual disk with the file system; 0: there is none.

    ``shared_mib``: as in the cluster file; ``None``: three quarters of what the disk has room for, or all of it if that
    is needed, but not more than 16 GiB. Raises ``ValueError`` for what cannot be, saying what can.
    """
    if shared_mib == 0:
        return 0
    room = tables.empty(bytes(16), nodes, disk_mib * MIB // SECTOR_SIZE).header.units * UNIT
    sizes = [min(room * 3 // 4 // UNIT * UNIT, DEFAULT_MAX), room] if shared_mib is None else [shared_mib * MIB]
    fitting = [size for size in sizes if size <= room and _holds_file_system(size, nodes)]
    if not fitting:
        all_sizes = range(1, room // MIB + 1)
        least = next((mib for mib in all_sizes if _holds_file_system(mib * MIB, nodes)), None)
        legal = "0, since the disk is too small"
        if least is not None:
            larger = all_sizes[least:]
            fit = bisect(larger, False, key=lambda mib: not _holds_file_system(mib * MIB, nodes))
            legal = f"0, or {least} to {least + fit}"
        raise ValueError(f"shared_mib = {shared_mib}, with {nodes} nodes on a disk of {disk_mib} MiB (legal: {legal})")
    return fitting[0]


def _holds_file_system(size: int, nodes: int) -> bool:
    """Neither too small for its journals nor larger than these can describe (docs/sfs.md)."""
    try:
        mkfs.layout(size // BLOCK_SIZE, bytes(16), slots=nodes)
    except ValueError:
        return False
    return True


def make_volumes(cluster_id: str, nodes: int, disk_size: int, shared: int, now_ns: int) -> Iterator[tuple[int, bytes]]:
    """What is to be written, and at which byte of the disk.

    ``shared``: bytes of the virtual disk with the file system, 0: none; ``now_ns``: the time of its root directory.
    """
    disks = [(VIRTUAL_DISK, shared)] if shared else []
    # The rest is sparse.
    yield layout.VOLUMES_OFFSET, format_volumes(cluster_id, nodes, disk_size, disks).rstrip(b"\0")
    if not shared:
        return
    identity = hashlib.blake2b(f"hil shared file system of {cluster_id}".encode(), digest_size=16).digest()
    for number, block in mkfs.make(mkfs.layout(shared // BLOCK_SIZE, identity, slots=nodes), now_ns):
        # The first virtual disk of an empty area is one extent at its beginning.
        yield layout.EXTENTS_OFFSET + number * BLOCK_SIZE, block
