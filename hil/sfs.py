"""The shared file system on a disk's image, looked over on the host."""

from __future__ import annotations

import os
from pathlib import Path

from guestd.sfs import superblock
from guestd.sfs.block import BLOCK_SIZE
from guestd.sfs.examine import CannotCheck, Examined, examine
from guestd.sfs.level import VIRTUAL_DISK
from hil import vdisk
from hil.errors import UsageError

SECTOR_SIZE = 512


def examined(image: Path, disk: str = VIRTUAL_DISK) -> Examined:
    """What is wrong with the file system on that virtual disk of the disk in `image`.

    Raises :class:`UsageError` if there is nothing to look at, saying why.
    """
    try:
        with open(image, "rb", buffering=0) as file:

            def read(lba: int, count: int) -> bytes:
                return os.pread(file.fileno(), count * SECTOR_SIZE, lba * SECTOR_SIZE)

            return examine(read, disk)
    except CannotCheck as why:
        raise UsageError(f"{image}: {why}") from None
    except OSError as error:
        raise UsageError(f"{image}: {error.strerror}") from None


def journal(image: Path, node: int) -> tuple[int, int]:
    """First and last sector on the disk of a node's journal. Raises :class:`UsageError` if there is none."""
    found = [one for one in vdisk.inspect(image).disks if one.name == VIRTUAL_DISK]
    if not found:
        raise UsageError(f"{image}: there is no virtual disk {VIRTUAL_DISK!r}")
    (((lba, _),),) = found[0].extents  # made with the disk, so in one piece
    with open(image, "rb", buffering=0) as file:
        block = os.pread(file.fileno(), BLOCK_SIZE, lba * SECTOR_SIZE)
    geometry = superblock.decode(block, found[0].size // BLOCK_SIZE)
    sectors = BLOCK_SIZE // SECTOR_SIZE
    first = lba + geometry.head(node) * sectors
    return first, first + geometry.journal_blocks * sectors - 1
