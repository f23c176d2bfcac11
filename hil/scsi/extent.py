"""The extent of blocks that a command is about: found in its CDB, checked, read and written (SBC-3 chapter 5)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hil.scsi.inquiry import TRANSFER_BLOCKS_MAX
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.placement import Piece, place, reread
from hil.scsi.sense import (
    LBA_OUT_OF_RANGE,
    MEDIUM_READ_ERROR,
    MEDIUM_WRITE_ERROR,
    WRITE_PROTECTED,
    Refused,
    invalid_field,
)

if TYPE_CHECKING:
    from hil.scsi.command import Command
    from hil.scsi.unit import LogicalUnit

FUA: Final = 0x08
_CDB_10: Final = struct.Struct(">xxIxH")
_CDB_12: Final = struct.Struct(">xxII")
_CDB_16: Final = struct.Struct(">xxQI")


def extent(cdb: bytes) -> tuple[int, int]:
    """First LBA and number of blocks, where they are in most CDBs; the group code gives the length."""
    group = cdb[0] >> 5
    if group in (1, 2):
        return _CDB_10.unpack_from(cdb)
    if group == 4:
        return _CDB_16.unpack_from(cdb)
    if group == 5:
        return _CDB_12.unpack_from(cdb)
    return int.from_bytes(cdb[1:4], "big") & 0x1FFFFF, cdb[4] or 256


def length_byte(cdb: bytes) -> int:
    """Where in its CDB the number of blocks begins, for the field pointer of a refusal."""
    return {0x00: 4, 0x20: 7, 0x40: 7, 0xA0: 6}.get(cdb[0] & 0xE0, 10)


def locate(unit: LogicalUnit, command: Command) -> tuple[int, int]:
    """The extent, noted for the ledger and checked: inside the unit, not too long, no protection asked for."""
    cdb = command.cdb
    lba, blocks = extent(cdb)
    check(unit, command, lba, blocks)
    if blocks > TRANSFER_BLOCKS_MAX:
        raise invalid_field(length_byte(cdb))
    return lba, blocks


def check(unit: LogicalUnit, command: Command, lba: int, blocks: int) -> None:
    """Notes the extent for the ledger. Raises ``Refused`` for protection information and outside of the unit."""
    command.lba = lba
    command.blocks = blocks
    if command.cdb[0] >= 0x20 and command.cdb[1] & 0xE0:  # the unit is formatted without protection information
        raise invalid_field(1, 7)
    if lba + blocks > unit.blocks:
        raise Refused(LBA_OUT_OF_RANGE, lba)


def read_extent(unit: LogicalUnit, command: Command, lba: int, blocks: int) -> bytes:
    """All of its bytes. Raises ``Refused`` with the first block that cannot be read."""
    try:
        found = unit.medium.read(lba, blocks)
    except OSError:
        raise Refused(MEDIUM_READ_ERROR, lba) from None
    if len(found) != blocks * BLOCK_BYTES:
        raise Refused(MEDIUM_READ_ERROR, lba + len(found) // BLOCK_BYTES)
    return reread(unit, command, lba, found) if command.faults else found


def check_writable(unit: LogicalUnit) -> None:
    """Raises ``Refused`` when the medium is write-protected: before anything else is found wrong with a write."""
    if unit.medium.write_protected:
        raise Refused(WRITE_PROTECTED)


def write_extent(unit: LogicalUnit, command: Command, lba: int, data: bytes | bytearray | memoryview) -> None:
    """Whole blocks, and says in ``command.changed`` whether any reached the medium. Raises ``Refused``."""
    medium = unit.medium
    if medium.write_protected:
        raise Refused(WRITE_PROTECTED)
    if unit.observed or command.faults:
        place(unit, command, Piece(lba, data, len(data)))
        return
    try:
        written = medium.write(lba, data)
    except OSError:
        raise Refused(MEDIUM_WRITE_ERROR, lba) from None
    command.changed |= written > 0
    if written != len(data):
        raise Refused(MEDIUM_WRITE_ERROR, lba + written // BLOCK_BYTES)


def unmap_extent(unit: LogicalUnit, command: Command, lba: int, blocks: int) -> None:
    """Afterwards its blocks read as zeros; those that a page of the host holds alone are a hole in the file.

    Raises ``Refused``.
    """
    if unit.observed or command.faults:
        place(unit, command, Piece(lba, None, blocks * BLOCK_BYTES))
        return
    try:
        unit.medium.unmap(lba, blocks)
    except OSError:
        raise Refused(MEDIUM_WRITE_ERROR, lba) from None
    command.changed = True


def flush(unit: LogicalUnit, command: Command) -> None:
    """What this command wrote is no longer in the volatile cache: FUA. Raises ``Refused``."""
    _flush_medium(unit, command.lba)
    if unit.cache is not None:
        for piece in command.placed or ():
            unit.cache.flush(piece.lba, piece.blocks)
    command.flushed = True


def synchronize(unit: LogicalUnit, command: Command, lba: int, blocks: int) -> None:
    """Nothing that was written to this extent is in the volatile cache any more. Raises ``Refused``."""
    _flush_medium(unit, lba)
    if unit.cache is not None:
        unit.cache.flush(lba, blocks)
    command.flushed = True


def _flush_medium(unit: LogicalUnit, lba: int) -> None:
    try:
        unit.medium.flush()
    except OSError:
        raise Refused(MEDIUM_WRITE_ERROR, lba) from None
