"""READ, WRITE, VERIFY and SYNCHRONIZE CACHE in all their lengths (SBC-3 chapter 5)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.inquiry import TRANSFER_BLOCKS_MAX
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import (
    INCORRECT_AMOUNT_OF_DATA,
    LBA_OUT_OF_RANGE,
    MEDIUM_READ_ERROR,
    MEDIUM_WRITE_ERROR,
    MISCOMPARE,
    Refused,
    Status,
    invalid_field,
)

if TYPE_CHECKING:
    from hil.scsi.unit import LogicalUnit

_CDB_10: Final = struct.Struct(">xxIxH")
_CDB_12: Final = struct.Struct(">xxII")
_CDB_16: Final = struct.Struct(">xxQI")
_FUA: Final = 0x08


def extent(cdb: bytes) -> tuple[int, int]:
    """First LBA and number of blocks of a READ, WRITE, VERIFY or SYNCHRONIZE CACHE; the group code gives the length."""
    group = cdb[0] >> 5
    if group in (1, 2):
        return _CDB_10.unpack_from(cdb)
    if group == 4:
        return _CDB_16.unpack_from(cdb)
    if group == 5:
        return _CDB_12.unpack_from(cdb)
    return int.from_bytes(cdb[1:4], "big") & 0x1FFFFF, cdb[4] or 256


def _locate(unit: LogicalUnit, command: Command) -> tuple[int, int]:
    """The extent, noted for the ledger and checked: inside the unit, not too long, no protection asked for."""
    cdb = command.cdb
    lba, blocks = extent(cdb)
    command.lba = lba
    command.blocks = blocks
    if cdb[0] >= 0x20 and cdb[1] & 0xE0:  # the unit is formatted without protection information
        raise invalid_field(1, 7)
    if lba + blocks > unit.blocks:
        raise Refused(LBA_OUT_OF_RANGE, lba)
    if blocks > TRANSFER_BLOCKS_MAX:
        raise invalid_field({0x20: 7, 0x40: 7, 0xA0: 6}.get(cdb[0] & 0xE0, 10))
    return lba, blocks


def read(unit: LogicalUnit, command: Command) -> Outcome:
    """READ (6), (10), (12), (16)."""
    lba, blocks = _locate(unit, command)
    try:
        data = unit.medium.read(lba, blocks)
    except OSError:
        raise Refused(MEDIUM_READ_ERROR, lba) from None
    if len(data) != blocks * BLOCK_BYTES:
        raise Refused(MEDIUM_READ_ERROR, lba + len(data) // BLOCK_BYTES)
    return Outcome(Status.GOOD, data)


def write(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE (6), (10), (12), (16). With less data than the CDB says, whole blocks of what came are written."""
    lba, blocks = _locate(unit, command)
    wanted = command.data_out_bytes = blocks * BLOCK_BYTES
    data = command.data
    if len(data) != wanted:
        data = memoryview(data)[: min(len(data), wanted) // BLOCK_BYTES * BLOCK_BYTES]
        command.data = data
    if len(data):
        try:
            written = unit.medium.write(lba, data)
        except OSError:
            raise Refused(MEDIUM_WRITE_ERROR, lba) from None
        command.changed = written > 0
        if written != len(data):
            raise Refused(MEDIUM_WRITE_ERROR, lba + written // BLOCK_BYTES)
        if command.cdb[0] >= 0x20 and command.cdb[1] & _FUA:
            unit.medium.flush()
    return DONE


def write_length(unit: LogicalUnit, command: Command) -> int:
    """Bytes that a WRITE needs from its initiator."""
    return _locate(unit, command)[1] * BLOCK_BYTES


def verify(unit: LogicalUnit, command: Command) -> Outcome:
    """VERIFY (10), (12), (16): BYTCHK 00b only checks that the blocks can be read, 01b and 11b compare."""
    lba, blocks = _locate(unit, command)
    data = memoryview(command.data)
    needed = command.data_out_bytes = verify_length(unit, command)
    found = _readable(unit, lba, blocks)
    if not needed or not blocks:
        return DONE
    if len(data) < needed:
        raise Refused(INCORRECT_AMOUNT_OF_DATA)
    wanted = bytes(data[:needed]) * (blocks * BLOCK_BYTES // needed)
    if wanted != found:
        first = next(index for index, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b)
        raise Refused(MISCOMPARE, first % needed)
    return DONE


def verify_length(unit: LogicalUnit, command: Command) -> int:
    """Bytes to compare with: none, all, or one block (SBC-3 5.28)."""
    blocks = _locate(unit, command)[1]
    check = command.cdb[1] >> 1 & 3
    if check == 2:
        raise invalid_field(1, 2)
    return (0, blocks, 0, min(blocks, 1))[check] * BLOCK_BYTES


def _readable(unit: LogicalUnit, lba: int, blocks: int) -> bytes:
    try:
        found = unit.medium.read(lba, blocks)
    except OSError:
        raise Refused(MEDIUM_READ_ERROR, lba) from None
    if len(found) != blocks * BLOCK_BYTES:
        raise Refused(MEDIUM_READ_ERROR, lba + len(found) // BLOCK_BYTES)
    return found


def synchronize_cache(unit: LogicalUnit, command: Command) -> Outcome:
    """SYNCHRONIZE CACHE (10), (16). 0 blocks means up to the end; the whole unit is flushed whatever the extent."""
    lba, blocks = extent(command.cdb)
    command.lba = lba
    command.blocks = blocks
    if lba + blocks > unit.blocks:
        raise Refused(LBA_OUT_OF_RANGE, lba)
    try:
        unit.medium.flush()
    except OSError:
        raise Refused(MEDIUM_WRITE_ERROR, lba) from None
    return DONE
