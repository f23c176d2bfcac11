"""ORWRITE (16) (SBC-3 5.5): sets bits of what is on the medium."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.scsi.block_operations import whole_blocks
from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.extent import FUA, flush, locate, read_extent, write_extent
from hil.scsi.medium import BLOCK_BYTES

if TYPE_CHECKING:
    from hil.scsi.unit import LogicalUnit


def or_write(unit: LogicalUnit, command: Command) -> Outcome:
    """Reads and writes with no other command in between. What the ledger is told is what was written."""
    lba, blocks = locate(unit, command)
    wanted = command.data_out_bytes = blocks * BLOCK_BYTES
    data = whole_blocks(command, wanted)
    if len(data):
        found = read_extent(unit, command, lba, len(data) // BLOCK_BYTES)
        result = int.from_bytes(data, "big") | int.from_bytes(found, "big")
        command.data = result.to_bytes(len(data), "big")
        write_extent(unit, command, lba, command.data)
        if command.cdb[1] & FUA:
            flush(unit, command)
    return DONE
