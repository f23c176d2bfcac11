"""READ, WRITE, PRE-FETCH and SYNCHRONIZE CACHE in all their lengths (SBC-3 chapter 5), and WRITE ATOMIC (SBC-4)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.extent import FUA, check, extent, flush, locate, read_extent, synchronize, write_extent
from hil.scsi.inquiry import TRANSFER_BLOCKS_MAX
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import LBA_OUT_OF_RANGE, Refused, Status, invalid_field

if TYPE_CHECKING:
    from hil.scsi.unit import LogicalUnit

_WRITE_ATOMIC: Final = struct.Struct(">xxQHH")  # LBA, atomic boundary, blocks


def read(unit: LogicalUnit, command: Command) -> Outcome:
    """READ (6), (10), (12), (16). With FUA the blocks are on the medium before they are read (SBC-3 5.11)."""
    lba, blocks = locate(unit, command)
    if blocks and command.cdb[0] >= 0x20 and command.cdb[1] & FUA:
        synchronize(unit, command, lba, blocks)
    return Outcome(Status.GOOD, read_extent(unit, command, lba, blocks))


def write(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE (6), (10), (12), (16). With less data than the CDB says, whole blocks of what came are written."""
    lba, blocks = locate(unit, command)
    wanted = command.data_out_bytes = blocks * BLOCK_BYTES
    data = whole_blocks(command, wanted)
    if len(data):
        write_extent(unit, command, lba, data)
        if command.cdb[0] >= 0x20 and command.cdb[1] & FUA:
            flush(unit, command)
    return DONE


def write_length(unit: LogicalUnit, command: Command) -> int:
    """Bytes that a WRITE needs from its initiator."""
    return locate(unit, command)[1] * BLOCK_BYTES


def whole_blocks(command: Command, wanted_bytes: int) -> bytes | bytearray | memoryview:
    """What the initiator sent, without what is too much and without a part of a block; and that is then what counts."""
    data = command.data
    if len(data) != wanted_bytes:
        data = command.data = memoryview(data)[: min(len(data), wanted_bytes) // BLOCK_BYTES * BLOCK_BYTES]
    return data


def write_atomic(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE ATOMIC (16) of SBC-4: all of it or nothing, so nothing when not all data came."""
    wanted = command.data_out_bytes = write_atomic_length(unit, command)
    if len(command.data) < wanted:
        raise invalid_field(12)
    if wanted:
        write_extent(unit, command, command.lba, whole_blocks(command, wanted))
        if command.cdb[1] & FUA:
            flush(unit, command)
    return DONE


def write_atomic_length(unit: LogicalUnit, command: Command) -> int:
    """Bytes that a WRITE ATOMIC (16) needs; boundaries inside of it are not supported."""
    lba: int
    boundary: int
    blocks: int
    lba, boundary, blocks = _WRITE_ATOMIC.unpack_from(command.cdb)
    check(unit, command, lba, blocks)
    if boundary:
        raise invalid_field(10)
    if blocks > TRANSFER_BLOCKS_MAX:
        raise invalid_field(12)
    return blocks * BLOCK_BYTES


def synchronize_cache(unit: LogicalUnit, command: Command) -> Outcome:
    """SYNCHRONIZE CACHE (10), (16). 0 blocks means up to the end (SBC-3 5.26)."""
    synchronize(unit, command, *locate_cached(unit, command))
    return DONE


def pre_fetch(unit: LogicalUnit, command: Command) -> Outcome:
    """PRE-FETCH (10), (16) (SBC-3 5.8, 5.9): asks the host to read. GOOD, not CONDITION MET: nothing is promised."""
    unit.medium.pre_fetch(*locate_cached(unit, command))
    return DONE


def locate_cached(unit: LogicalUnit, command: Command) -> tuple[int, int]:
    """The extent of a command about the cache, of any length; 0 blocks are all up to the end (SBC-3 5.8, 5.26)."""
    lba, blocks = extent(command.cdb)
    blocks = blocks or max(unit.blocks - lba, 0)
    command.lba = lba
    command.blocks = blocks
    if lba + blocks > unit.blocks:
        raise Refused(LBA_OUT_OF_RANGE, lba)
    return lba, blocks
