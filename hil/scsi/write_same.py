"""WRITE SAME (10) and (16) (SBC-3 5.43, 5.44): one block written over and over, or an extent unmapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.extent import check, check_writable, extent, length_byte, unmap_extent, write_extent
from hil.scsi.inquiry import WRITE_SAME_BLOCKS_MAX
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import invalid_field

if TYPE_CHECKING:
    from hil.scsi.unit import LogicalUnit

_ANCHOR: Final = 0x10
_UNMAP: Final = 0x08
_OBSOLETE: Final = 0x06  # PBDATA, LBDATA
_NO_DATA_OUT: Final = 0x01  # NDOB, (16) only
_ZEROS: Final = bytes(BLOCK_BYTES)
_BLOCKS_AT_ONCE: Final = 2048


def write_same(unit: LogicalUnit, command: Command) -> Outcome:
    """With UNMAP blocks are unmapped only where they then read as the block that was sent: zeros (LBPRZ=1)."""
    check_writable(unit)
    needed = command.data_out_bytes = write_same_length(unit, command)
    if len(command.data) != needed:
        raise invalid_field(length_byte(command.cdb))
    block = bytes(command.data) if needed else _ZEROS
    command.data = block
    lba, blocks = command.lba, command.blocks
    if command.cdb[1] & _UNMAP and block == _ZEROS:
        unmap_extent(unit, command, lba, blocks)
        return DONE
    while blocks:
        at_once = min(blocks, _BLOCKS_AT_ONCE)
        write_extent(unit, command, lba, block * at_once)
        lba += at_once
        blocks -= at_once
    return DONE


def write_same_length(unit: LogicalUnit, command: Command) -> int:
    """One block, or nothing with NDOB. 0 blocks, which could mean all up to the end, are refused (WSNZ=1)."""
    cdb = command.cdb
    lba, blocks = extent(cdb)
    check(unit, command, lba, blocks)
    if cdb[1] & _ANCHOR:  # ANC_SUP=0, and without UNMAP it is wrong anyway
        raise invalid_field(1, 4)
    if cdb[1] & _OBSOLETE:
        raise invalid_field(1, 2)
    no_data = cdb[1] & _NO_DATA_OUT
    if no_data and cdb[0] == 0x41:  # was RELADR there
        raise invalid_field(1, 0)
    if not 0 < blocks <= WRITE_SAME_BLOCKS_MAX:
        raise invalid_field(length_byte(cdb))
    return 0 if no_data else BLOCK_BYTES
