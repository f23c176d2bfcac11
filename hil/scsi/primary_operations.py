"""Commands that say what the unit is and how it is: not INQUIRY and MODE SENSE, which have files of their own."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import NO_SENSE, UNIT_NOT_SUPPORTED, Sense, Status, descriptor, fixed, invalid_field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hil.scsi.unit import LogicalUnit

_DEFECT_LISTS: Final = 0x1F  # REQ_PLIST, REQ_GLIST, format


def test_unit_ready(unit: LogicalUnit, command: Command) -> Outcome:
    """TEST UNIT READY (SPC-4 6.47)."""
    return DONE


def request_sense(unit: LogicalUnit | None, command: Command) -> Outcome:
    """REQUEST SENSE (SPC-4 6.39): a pending unit attention is told, and by that cleared, here; the status is GOOD."""
    sense = UNIT_NOT_SUPPORTED if unit is None else take_attention(command) or NO_SENSE
    data = descriptor(sense) if command.cdb[1] & 0x01 else fixed(sense)
    return Outcome(Status.GOOD, data[: command.cdb[4]])


def take_attention(command: Command) -> Sense | None:
    """The oldest unit attention of this nexus and LUN, which is thereby told."""
    waiting = command.nexus.attentions.get(command.lun)
    if not waiting:
        return None
    sense = waiting.pop(0)
    if not waiting:
        del command.nexus.attentions[command.lun]
    return sense


def report_luns(luns: Iterable[int], command: Command) -> Outcome:
    """REPORT LUNS (SPC-4 6.33), the same at every LUN, existing or not."""
    select, allocation = command.cdb[2], int.from_bytes(command.cdb[6:10], "big")
    if select > 2:
        raise invalid_field(2)
    if allocation < 16:
        raise invalid_field(6)
    entries = b"" if select == 1 else b"".join(lun_field(lun) for lun in sorted(luns))  # 1: well known units, none here
    return Outcome(Status.GOOD, (struct.pack(">II", len(entries), 0) + entries)[:allocation])


def lun_field(lun: int) -> bytes:
    """The 8 bytes of a single-level LUN (SAM-5 4.7.4): peripheral addressing up to 255, flat space up to 16383."""
    return struct.pack(">H6x", lun if lun < 256 else 0x4000 | lun)


def read_capacity_10(unit: LogicalUnit, command: Command) -> Outcome:
    """READ CAPACITY (10) (SBC-3 5.15)."""
    return Outcome(Status.GOOD, struct.pack(">II", min(unit.blocks - 1, 0xFFFFFFFF), BLOCK_BYTES))


def read_defect_data_10(unit: LogicalUnit, command: Command) -> Outcome:
    """READ DEFECT DATA (10) (SBC-3 5.17): both lists exist in whatever format, and are empty."""
    cdb = command.cdb
    data = struct.pack(">BBH", 0, cdb[2] & _DEFECT_LISTS, 0)
    return Outcome(Status.GOOD, data[: int.from_bytes(cdb[7:9], "big")])


def read_defect_data_12(unit: LogicalUnit, command: Command) -> Outcome:
    """READ DEFECT DATA (12) (SBC-3 5.18): as (10), with a longer header."""
    cdb = command.cdb
    data = struct.pack(">BBHI", 0, cdb[1] & _DEFECT_LISTS, 0, 0)
    return Outcome(Status.GOOD, data[: int.from_bytes(cdb[6:10], "big")])


def start_stop_unit(unit: LogicalUnit, command: Command) -> Outcome:
    """START STOP UNIT (SBC-3 5.25): starting and stopping have no effect, as other nodes go on using the disk.

    Refused: a power condition, as there is no power condition mode page, and LOEJ, as the medium cannot be removed.
    """
    if command.cdb[4] & 0xF0:
        raise invalid_field(4, 7)
    if command.cdb[4] & 0x02:
        raise invalid_field(4, 1)
    return DONE
