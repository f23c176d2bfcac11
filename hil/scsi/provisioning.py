"""Thin provisioning (SBC-3 4.7): READ CAPACITY (16), UNMAP, GET LBA STATUS. Unmapped blocks read as zeros."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.extent import check_writable, unmap_extent
from hil.scsi.inquiry import UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import (
    INVALID_FIELD_IN_PARAMETERS,
    LBA_OUT_OF_RANGE,
    MEDIUM_READ_ERROR,
    PARAMETER_LIST_LENGTH,
    Refused,
    Status,
    invalid_field,
)

if TYPE_CHECKING:
    from hil.scsi.unit import LogicalUnit

_LBPME_AND_LBPRZ: Final = 0xC0
_UNMAP_HEADER: Final = struct.Struct(">HH4x")  # lengths of what follows and of the descriptors
_UNMAP_DESCRIPTOR: Final = struct.Struct(">QI4x")
_STATUS_DESCRIPTOR: Final = struct.Struct(">QIBxxx")
_DEALLOCATED: Final = 1
# More descriptors of a file full of holes would keep the other initiators waiting; fewer than fit are legal.
_STATUS_DESCRIPTORS_MAX: Final = 256


def read_capacity_16(unit: LogicalUnit, command: Command) -> Outcome:
    """READ CAPACITY (16) (SBC-3 5.16): no protection, LBPPBE=0, LBPME=1, LBPRZ=1."""
    data = struct.pack(">QIBBBB", unit.blocks - 1, BLOCK_BYTES, 0, 0, _LBPME_AND_LBPRZ, 0).ljust(32, b"\0")
    return Outcome(Status.GOOD, data[: int.from_bytes(command.cdb[10:14], "big")])


def get_lba_status(unit: LogicalUnit, command: Command) -> Outcome:
    """GET LBA STATUS (SBC-3 5.4): mapped is where the file has data, deallocated where it has a hole."""
    lba, allocation = struct.unpack_from(">QI", command.cdb, 2)
    command.lba = lba
    if lba >= unit.blocks:
        raise Refused(LBA_OUT_OF_RANGE, lba)
    count_max = min(max((allocation - 8) // _STATUS_DESCRIPTOR.size, 1), _STATUS_DESCRIPTORS_MAX)
    found: list[bytes] = []
    while lba < unit.blocks and len(found) < count_max:
        try:
            end, mapped = unit.medium.provisioning(lba)
        except OSError:
            raise Refused(MEDIUM_READ_ERROR, lba) from None
        blocks = min(end - lba, 0xFFFFFFFF)
        found.append(_STATUS_DESCRIPTOR.pack(lba, blocks, 0 if mapped else _DEALLOCATED))
        lba += blocks
    descriptors = b"".join(found)
    return Outcome(Status.GOOD, (struct.pack(">II", 4 + len(descriptors), 0) + descriptors)[:allocation])


def unmap(unit: LogicalUnit, command: Command) -> Outcome:
    """UNMAP (SBC-3 5.28): all descriptors are checked before the first takes effect."""
    check_writable(unit)
    for lba, blocks in locate_unmap(unit, command):
        unmap_extent(unit, command, lba, blocks)
    return DONE


def locate_unmap(unit: LogicalUnit, command: Command) -> list[tuple[int, int]]:
    """Every extent that is named; noted for the ledger is the span from the first to the last block of them."""
    needed = command.data_out_bytes = unmap_length(unit, command)
    extents = _descriptors(bytes(command.data[:needed]), needed)
    for lba, blocks in extents:
        if lba + blocks > unit.blocks:
            raise Refused(LBA_OUT_OF_RANGE, lba)
    named = [(lba, blocks) for lba, blocks in extents if blocks]
    if named:
        command.lba = min(lba for lba, _ in named)
        command.blocks = max(lba + blocks for lba, blocks in named) - command.lba
    return named


def unmap_length(unit: LogicalUnit, command: Command) -> int:
    """Bytes of the parameter list."""
    if command.cdb[1] & 0x01:  # ANCHOR; ANC_SUP=0
        raise invalid_field(1, 0)
    return int.from_bytes(command.cdb[7:9], "big")


def _descriptors(data: bytes, needed: int) -> list[tuple[int, int]]:
    """LBA and number of blocks of each. An incomplete last one is ignored (SBC-3 5.28)."""
    if not needed:
        return []
    if len(data) < max(needed, _UNMAP_HEADER.size):
        raise Refused(PARAMETER_LIST_LENGTH)
    length = _UNMAP_HEADER.unpack_from(data)[1]
    if length > needed - _UNMAP_HEADER.size:
        raise Refused(PARAMETER_LIST_LENGTH)
    count = length // _UNMAP_DESCRIPTOR.size
    found = [_UNMAP_DESCRIPTOR.unpack_from(data, 8 + 16 * index) for index in range(count)]
    if count > UNMAP_DESCRIPTORS_MAX or sum(blocks for _, blocks in found) > UNMAP_BLOCKS_MAX:
        raise Refused(INVALID_FIELD_IN_PARAMETERS)
    return found
