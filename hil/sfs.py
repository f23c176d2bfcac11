"""The shared file system on an image, on the host: made, and looked over."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from guestd.sfs import mkfs
from guestd.sfs.block import BLOCK_SIZE
from guestd.sfs.examine import NAME, CannotCheck, Examined, examine
from hil.errors import UsageError

SECTOR_SIZE = 512


def make(image: Path, nodes: int, offset: int, size: int | None) -> str:
    """An empty file system in that file, from byte `offset` on, in so many bytes (None: up to the end).

    Returns what it is like, for people. Overwrites whatever is there. nodes: how many journals. Raises ValueError for
    what cannot be.
    """
    blocks = (image.stat().st_size - offset if size is None else size) // BLOCK_SIZE
    superblock = mkfs.layout(blocks, uuid.uuid4().bytes, slots=nodes)
    with image.open("r+b") as file:
        for number, block in mkfs.make(superblock, time.time_ns()):
            file.seek(offset + number * BLOCK_SIZE)
            file.write(block)
    return (
        f"{superblock.blocks} blocks of {BLOCK_SIZE}, {superblock.slots} journals of {superblock.journal_blocks}, "
        f"{superblock.groups} groups of {superblock.group_blocks}"
    )


def examined(image: Path, disk: str = NAME) -> Examined:
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
