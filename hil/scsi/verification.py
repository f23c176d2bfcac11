"""VERIFY and WRITE AND VERIFY (SBC-3 5.29 to 5.31, 5.37 to 5.39), and how a difference is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.scsi.block_operations import write
from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.extent import flush, locate, read_extent
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import INCORRECT_AMOUNT_OF_DATA, MISCOMPARE, Refused, invalid_field

if TYPE_CHECKING:
    from hil.scsi.unit import LogicalUnit

Bytes = bytes | bytearray | memoryview


def verify(unit: LogicalUnit, command: Command) -> Outcome:
    """VERIFY (10), (12), (16): BYTCHK 00b only checks that the blocks can be read, 01b and 11b compare."""
    lba, blocks = locate(unit, command)
    needed = command.data_out_bytes = verify_length(unit, command)
    found = read_extent(unit, command, lba, blocks)
    if not needed:
        return DONE
    data = memoryview(command.data)[:needed]
    if len(data) < needed:
        raise Refused(INCORRECT_AMOUNT_OF_DATA)
    compare(bytes(data) * (blocks * BLOCK_BYTES // needed), found, needed)
    return DONE


def verify_length(unit: LogicalUnit, command: Command) -> int:
    """Bytes to compare with: none, all, or one block (SBC-3 5.29)."""
    blocks = locate(unit, command)[1]
    check = command.cdb[1] >> 1 & 3
    if check == 2:
        raise invalid_field(1, 2)
    return (0, blocks, 0, min(blocks, 1))[check] * BLOCK_BYTES


def write_and_verify(unit: LogicalUnit, command: Command) -> Outcome:
    """WRITE AND VERIFY (10), (12), (16): on the medium when it ends, whatever the cache; BYTCHK 01b compares."""
    if command.cdb[1] & 0x04:  # BYTCHK 10b and 11b
        raise invalid_field(1, 2)
    write(unit, command)
    flush(unit, command)
    found = read_extent(unit, command, command.lba, len(command.data) // BLOCK_BYTES)
    if command.cdb[1] & 0x02:
        compare(command.data, found, len(found))
    return DONE


def compare(wanted: Bytes, found: Bytes, period_bytes: int) -> None:
    """Of equal length. Raises ``Refused``: MISCOMPARE, and where in the ``period_bytes`` sent (SPC-4 4.5.2)."""
    if wanted != found:
        different = int.from_bytes(wanted, "big") ^ int.from_bytes(found, "big")
        first = len(found) - (different.bit_length() + 7) // 8
        raise Refused(MISCOMPARE, first % period_bytes)
