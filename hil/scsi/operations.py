"""The table of operation codes: one row each. What has no row ends with INVALID COMMAND OPERATION CODE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hil.scsi import block_operations as block
from hil.scsi import compare_and_write, provisioning, verification, write_same
from hil.scsi import persistent_reserve as persistent
from hil.scsi import primary_operations as primary
from hil.scsi.extent import locate
from hil.scsi.inquiry import inquiry
from hil.scsi.mode_pages import mode_sense_6, mode_sense_10
from hil.scsi.mode_select import mode_select_6, mode_select_6_length, mode_select_10, mode_select_10_length
from hil.scsi.operation import Direction, Operation, ServiceAction, by_service_action
from hil.scsi.or_write import or_write
from hil.scsi.supported_operations import report_supported_operations

if TYPE_CHECKING:
    from hil.scsi.command import Command, Outcome
    from hil.scsi.unit import LogicalUnit


READ, WRITE, FLUSH, RESERVE = Direction.READ, Direction.WRITE, Direction.FLUSH, Direction.RESERVE


def _report_luns(unit: LogicalUnit, command: Command) -> Outcome:
    return primary.report_luns(unit.luns, command)


def _report_supported_operations(unit: LogicalUnit, command: Command) -> Outcome:
    return report_supported_operations(OPERATIONS, command)


_SERVICE_ACTION_IN_16: Final = {
    0x10: ServiceAction("READ CAPACITY (16)", "9e 10 0000000000000000 ffffffff 00 00", provisioning.read_capacity_16),
    0x12: ServiceAction("GET LBA STATUS", "9e 12 ffffffffffffffff ffffffff 00 00", provisioning.get_lba_status),
}
_MAINTENANCE_IN: Final = {
    0x0C: ServiceAction(
        "REPORT SUPPORTED OPERATION CODES", "a3 0c 87 ff ffff ffffffff 00 00", _report_supported_operations
    ),
}

OPERATIONS: Final[dict[int, Operation]] = {
    0x00: Operation("TEST UNIT READY", primary.test_unit_ready, usage="00 00 00 00 00 00"),
    0x03: Operation("REQUEST SENSE", primary.request_sense, despite_attention=True, usage="03 01 00 00 ff 00"),
    0x08: Operation("READ (6)", block.read, direction=READ, usage="08 1fffff ff 00", locate=locate),
    0x0A: Operation("WRITE (6)", block.write, block.write_length, direction=WRITE, usage="0a 1fffff ff 00"),
    0x12: Operation("INQUIRY", inquiry, despite_attention=True, usage="12 03 ff ffff 00"),
    0x15: Operation("MODE SELECT (6)", mode_select_6, mode_select_6_length, usage="15 11 0000 ff 00"),
    0x16: Operation("RESERVE (6)", persistent.reserve, direction=RESERVE, usage="16 11 00 00 00 00"),
    0x17: Operation("RELEASE (6)", persistent.release, direction=RESERVE, usage="17 11 00 00 00 00"),
    0x1A: Operation("MODE SENSE (6)", mode_sense_6, usage="1a 08 ff ff ff 00"),
    0x1B: Operation("START STOP UNIT", primary.start_stop_unit, usage="1b 00 00 00 f3 00"),
    0x25: Operation("READ CAPACITY (10)", primary.read_capacity_10, usage="25 00 00000000 0000 00 00"),
    0x28: Operation("READ (10)", block.read, direction=READ, usage="28 f8 ffffffff 00 ffff 00", locate=locate),
    0x2A: Operation("WRITE (10)", block.write, block.write_length, direction=WRITE, usage="2a f8 ffffffff 00 ffff 00"),
    0x2E: Operation(
        "WRITE AND VERIFY (10)",
        verification.write_and_verify,
        block.write_length,
        direction=WRITE,
        usage="2e f6 ffffffff 00 ffff 00",
    ),
    0x2F: Operation(
        "VERIFY (10)",
        verification.verify,
        verification.verify_length,
        direction=READ,
        usage="2f f6 ffffffff 00 ffff 00",
    ),
    0x34: Operation(
        "PRE-FETCH (10)", block.pre_fetch, direction=READ, usage="34 02 ffffffff 00 ffff 00", locate=block.locate_cached
    ),
    0x35: Operation(
        "SYNCHRONIZE CACHE (10)",
        block.synchronize_cache,
        direction=FLUSH,
        usage="35 00 ffffffff 00 ffff 00",
        locate=block.locate_cached,
    ),
    0x37: Operation("READ DEFECT DATA (10)", primary.read_defect_data_10, usage="37 00 1f 00000000 ffff 00"),
    0x41: Operation(
        "WRITE SAME (10)",
        write_same.write_same,
        write_same.write_same_length,
        direction=WRITE,
        usage="41 f8 ffffffff 00 ffff 00",
    ),
    0x42: Operation(
        "UNMAP",
        provisioning.unmap,
        provisioning.unmap_length,
        direction=WRITE,
        usage="42 01 00000000 00 ffff 00",
        locate=provisioning.locate_unmap,
    ),
    0x55: Operation("MODE SELECT (10)", mode_select_10, mode_select_10_length, usage="55 11 0000000000 ffff 00"),
    0x5A: Operation("MODE SENSE (10)", mode_sense_10, usage="5a 18 ff ff 000000 ffff 00"),
    0x5E: Operation(
        "PERSISTENT RESERVE IN", persistent.persistent_reserve_in, direction=RESERVE, actions=persistent.IN_ACTIONS
    ),
    0x5F: Operation(
        "PERSISTENT RESERVE OUT",
        persistent.persistent_reserve_out,
        persistent.persistent_reserve_out_length,
        direction=RESERVE,
        actions=persistent.OUT_ACTIONS,
    ),
    0x88: Operation(
        "READ (16)", block.read, direction=READ, usage="88 f8 ffffffffffffffff ffffffff 00 00", locate=locate
    ),
    0x89: Operation(
        "COMPARE AND WRITE",
        compare_and_write.compare_and_write,
        compare_and_write.compare_and_write_length,
        direction=WRITE,
        usage="89 f8 ffffffffffffffff 000000 ff 00 00",
    ),
    0x8A: Operation(
        "WRITE (16)", block.write, block.write_length, direction=WRITE, usage="8a f8 ffffffffffffffff ffffffff 00 00"
    ),
    0x8B: Operation(
        "ORWRITE (16)", or_write, block.write_length, direction=WRITE, usage="8b f8 ffffffffffffffff ffffffff 00 00"
    ),
    0x8E: Operation(
        "WRITE AND VERIFY (16)",
        verification.write_and_verify,
        block.write_length,
        direction=WRITE,
        usage="8e f6 ffffffffffffffff ffffffff 00 00",
    ),
    0x8F: Operation(
        "VERIFY (16)",
        verification.verify,
        verification.verify_length,
        direction=READ,
        usage="8f f6 ffffffffffffffff ffffffff 00 00",
    ),
    0x90: Operation(
        "PRE-FETCH (16)",
        block.pre_fetch,
        direction=READ,
        usage="90 02 ffffffffffffffff ffffffff 00 00",
        locate=block.locate_cached,
    ),
    0x91: Operation(
        "SYNCHRONIZE CACHE (16)",
        block.synchronize_cache,
        direction=FLUSH,
        usage="91 00 ffffffffffffffff ffffffff 00 00",
        locate=block.locate_cached,
    ),
    0x93: Operation(
        "WRITE SAME (16)",
        write_same.write_same,
        write_same.write_same_length,
        direction=WRITE,
        usage="93 f9 ffffffffffffffff ffffffff 00 00",
    ),
    0x9C: Operation(
        "WRITE ATOMIC (16)",
        block.write_atomic,
        block.write_atomic_length,
        direction=WRITE,
        usage="9c f8 ffffffffffffffff ffff ffff 00 00",
    ),
    0x9E: by_service_action("SERVICE ACTION IN (16)", _SERVICE_ACTION_IN_16),
    0xA0: Operation("REPORT LUNS", _report_luns, despite_attention=True, usage="a0 00 ff 000000 ffffffff 00 00"),
    0xA3: by_service_action("MAINTENANCE IN", _MAINTENANCE_IN),
    0xA8: Operation("READ (12)", block.read, direction=READ, usage="a8 f8 ffffffff ffffffff 00 00", locate=locate),
    0xAA: Operation(
        "WRITE (12)", block.write, block.write_length, direction=WRITE, usage="aa f8 ffffffff ffffffff 00 00"
    ),
    0xAE: Operation(
        "WRITE AND VERIFY (12)",
        verification.write_and_verify,
        block.write_length,
        direction=WRITE,
        usage="ae f6 ffffffff ffffffff 00 00",
    ),
    0xAF: Operation(
        "VERIFY (12)",
        verification.verify,
        verification.verify_length,
        direction=READ,
        usage="af f6 ffffffff ffffffff 00 00",
    ),
    0xB7: Operation("READ DEFECT DATA (12)", primary.read_defect_data_12, usage="b7 1f 00000000 ffffffff 00 00"),
}

NAMES: Final = {code: operation.name for code, operation in OPERATIONS.items()}
READS: Final = frozenset(code for code, operation in OPERATIONS.items() if operation.direction is READ)
WRITES: Final = frozenset(code for code, operation in OPERATIONS.items() if operation.direction is WRITE)
