"""The table of operation codes: one row each. What has no row ends with INVALID COMMAND OPERATION CODE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hil.scsi import block_operations as block
from hil.scsi import primary_operations as primary
from hil.scsi.inquiry import inquiry
from hil.scsi.mode_pages import mode_sense_6, mode_sense_10

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.scsi.command import Command, Outcome
    from hil.scsi.unit import LogicalUnit


class Operation(NamedTuple):
    """A row. ``data_out_length`` is None where the command takes no data from its initiator.

    ``despite_attention``: executed although a unit attention is pending (SAM-5 5.14: INQUIRY, REPORT LUNS, REQUEST
    SENSE).
    """

    name: str
    execute: Callable[[LogicalUnit, Command], Outcome]
    data_out_length: Callable[[LogicalUnit, Command], int] | None = None
    despite_attention: bool = False
    writes: bool = False


def _report_luns(unit: LogicalUnit, command: Command) -> Outcome:
    return primary.report_luns(unit.luns, command)


OPERATIONS: Final[dict[int, Operation]] = {
    0x00: Operation("TEST UNIT READY", primary.test_unit_ready),
    0x03: Operation("REQUEST SENSE", primary.request_sense, despite_attention=True),
    0x08: Operation("READ (6)", block.read),
    0x0A: Operation("WRITE (6)", block.write, block.write_length, writes=True),
    0x12: Operation("INQUIRY", inquiry, despite_attention=True),
    0x1A: Operation("MODE SENSE (6)", lambda unit, command: mode_sense_6(unit.blocks, command)),
    0x1B: Operation("START STOP UNIT", primary.start_stop_unit),
    0x25: Operation("READ CAPACITY (10)", primary.read_capacity_10),
    0x28: Operation("READ (10)", block.read),
    0x2A: Operation("WRITE (10)", block.write, block.write_length, writes=True),
    0x2F: Operation("VERIFY (10)", block.verify, block.verify_length),
    0x35: Operation("SYNCHRONIZE CACHE (10)", block.synchronize_cache),
    0x5A: Operation("MODE SENSE (10)", lambda unit, command: mode_sense_10(unit.blocks, command)),
    0x88: Operation("READ (16)", block.read),
    0x8A: Operation("WRITE (16)", block.write, block.write_length, writes=True),
    0x8F: Operation("VERIFY (16)", block.verify, block.verify_length),
    0x91: Operation("SYNCHRONIZE CACHE (16)", block.synchronize_cache),
    0x9E: Operation("SERVICE ACTION IN (16)", primary.service_action_in_16),
    0xA0: Operation("REPORT LUNS", _report_luns, despite_attention=True),
    0xA8: Operation("READ (12)", block.read),
    0xAA: Operation("WRITE (12)", block.write, block.write_length, writes=True),
    0xAF: Operation("VERIFY (12)", block.verify, block.verify_length),
}

NAMES: Final = {code: operation.name for code, operation in OPERATIONS.items()}
WRITES: Final = frozenset(code for code, operation in OPERATIONS.items() if operation.writes)
