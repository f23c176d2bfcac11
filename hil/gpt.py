"""A GUID partition table (UEFI specification 2.10, chapter 5): what standard tools read to show what lies where.

    LBA 0          protective MBR (5.2.3): tells tools that know no GPT that the disk is taken
    LBA 1          header (5.3.2)
    LBA 2 to 33    entry array (5.3.3), 128 entries of 128 bytes
    ...            partitions
    -33            entry array again
    -1             header again: where each says where the other is

Both headers carry a CRC-32 of themselves and of the array.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BLOCK_SIZE: Final = 512
ENTRY_COUNT: Final = 128
NAME_LENGTH_MAX: Final = 36

LINUX_RESERVED: Final = uuid.UUID("8da63339-0007-60c0-c436-083ac8230908")
"""Partition type: nothing that mounts, formats or scans by itself touches it."""

_HEADER = struct.Struct("<8sIII4xQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_MBR_ENTRY = struct.Struct("<B3sB3sII")

_REVISION = 0x00010000
_ENTRY_BLOCKS = ENTRY_COUNT * _ENTRY.size // BLOCK_SIZE

FIRST_USABLE_LBA: Final = 2 + _ENTRY_BLOCKS
BACKUP_BLOCKS: Final = _ENTRY_BLOCKS + 1


@dataclass(frozen=True)
class Partition:
    """One partition: where it lies, what it is called, and its own GUID."""

    name: str
    first_lba: int
    last_lba: int
    """Inclusive, as in the table."""
    guid: uuid.UUID
    type_guid: uuid.UUID = LINUX_RESERVED


def last_usable_lba(blocks: int) -> int:
    """Of a disk with that many blocks."""
    return blocks - BACKUP_BLOCKS - 1


def tables(blocks: int, disk_guid: uuid.UUID, partitions: Sequence[Partition]) -> tuple[bytes, bytes]:
    """For a disk of ``blocks`` blocks: the primary table, for its beginning, and the backup, for its end.

    Raises ValueError for partitions that overlap or do not fit on the disk, for too many, and for too long a name.
    """
    _check(blocks, partitions)
    array = b"".join(map(_entry, partitions)).ljust(ENTRY_COUNT * _ENTRY.size, b"\0")
    primary = _header(blocks, disk_guid, array, own_lba=1, other_lba=blocks - 1, array_lba=2)
    backup = _header(blocks, disk_guid, array, own_lba=blocks - 1, other_lba=1, array_lba=blocks - BACKUP_BLOCKS)
    return _protective_mbr(blocks) + primary + array, array + backup


def _check(blocks: int, partitions: Sequence[Partition]) -> None:
    if len(partitions) > ENTRY_COUNT:
        raise ValueError(f"{len(partitions)} partitions (legal: at most {ENTRY_COUNT})")
    free_lba = FIRST_USABLE_LBA
    for partition in sorted(partitions, key=lambda one: one.first_lba):
        if not free_lba <= partition.first_lba <= partition.last_lba <= last_usable_lba(blocks):
            raise ValueError(
                f"partition {partition.name!r}: blocks {partition.first_lba} to {partition.last_lba} "
                f"(free: {free_lba} to {last_usable_lba(blocks)})"
            )
        if len(partition.name.encode("utf-16-le")) > 2 * NAME_LENGTH_MAX:
            raise ValueError(f"partition {partition.name!r}: its name is longer than {NAME_LENGTH_MAX} characters")
        free_lba = partition.last_lba + 1


def _entry(partition: Partition) -> bytes:
    # bytes_le: the first three fields of a GUID are little-endian on the disk (appendix A).
    return _ENTRY.pack(
        partition.type_guid.bytes_le,
        partition.guid.bytes_le,
        partition.first_lba,
        partition.last_lba,
        0,
        partition.name.encode("utf-16-le"),
    )


def _header(blocks: int, disk_guid: uuid.UUID, array: bytes, *, own_lba: int, other_lba: int, array_lba: int) -> bytes:
    def packed(own_crc: int) -> bytes:
        return _HEADER.pack(
            b"EFI PART",
            _REVISION,
            _HEADER.size,
            own_crc,
            own_lba,
            other_lba,
            FIRST_USABLE_LBA,
            last_usable_lba(blocks),
            disk_guid.bytes_le,
            array_lba,
            ENTRY_COUNT,
            _ENTRY.size,
            zlib.crc32(array),
        )

    # The checksum is taken over the header with zero in its own place.
    return packed(zlib.crc32(packed(0))).ljust(BLOCK_SIZE, b"\0")


def _protective_mbr(blocks: int) -> bytes:
    size = min(blocks - 1, 0xFFFFFFFF)
    # As the specification has it: begins at sector 2 (0, 0, 2), ends where the old addressing cannot say any more.
    entry = _MBR_ENTRY.pack(0, b"\x00\x02\x00", 0xEE, b"\xff\xff\xff", 1, size)
    return bytes(446) + entry.ljust(64, b"\0") + b"\x55\xaa"
