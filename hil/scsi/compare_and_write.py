"""COMPARE AND WRITE (SBC-3 5.2): writes if the medium holds what the initiator thinks, as one step."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.extent import FUA, check, check_writable, flush, read_extent, write_extent
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import invalid_field
from hil.scsi.verification import compare

if TYPE_CHECKING:
    from hil.scsi.unit import LogicalUnit

_CDB: Final = struct.Struct(">xxQxxxB")


def compare_and_write(unit: LogicalUnit, command: Command) -> Outcome:
    """The data is what to find, then what to write; what the ledger is told is what was to be written.

    Compares and writes with no other command in between: one thread serves all nexuses, and nothing here waits.
    """
    check_writable(unit)
    needed = command.data_out_bytes = compare_and_write_length(unit, command)
    if len(command.data) != needed:  # more or less than the CDB says: neither half is where it should be
        raise invalid_field(13)
    half = needed // 2
    data = memoryview(command.data)
    command.data = data[half:]
    if half:
        compare(data[:half], read_extent(unit, command, command.lba, command.blocks), half)
        write_extent(unit, command, command.lba, command.data)
        if command.cdb[1] & FUA:
            flush(unit, command)
    return DONE


def compare_and_write_length(unit: LogicalUnit, command: Command) -> int:
    """Bytes of both halves."""
    lba: int
    blocks: int
    lba, blocks = _CDB.unpack_from(command.cdb)  # one byte of length, so never more than page B0h says
    check(unit, command, lba, blocks)
    return 2 * blocks * BLOCK_BYTES
