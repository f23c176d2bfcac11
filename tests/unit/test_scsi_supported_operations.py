"""REPORT SUPPORTED OPERATION CODES (SPC-4 6.35), and that the table has all it needs for it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi import sense
from hil.scsi.operations import OPERATIONS
from hil.scsi.target import Target
from tests.unit.scsi_initiator import execute, field_pointer, good, make_target, refusal

TIMEOUTS = bytes.fromhex("000a 00 00 00000000 00000000")
CDB_BYTES = {0: 6, 1: 10, 2: 10, 4: 16, 5: 12}
USAGES = [
    (code, None if operation.actions is None else action, usage)
    for code, operation in OPERATIONS.items()
    for action, usage in (
        {0: operation.usage}
        if operation.actions is None
        else {action: row.usage for action, row in operation.actions.items()}
    ).items()
]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    yield target
    target.units[0].medium.close()


def report(option: int, code: int = 0, action: int = 0, *, timeouts: bool = False, allocation: int = 65535) -> bytes:
    return struct.pack(">BBBBHIxx", 0xA3, 0x0C, option | timeouts << 7, code, action, allocation)


@pytest.mark.parametrize(("code", "action", "usage"), USAGES)
def test_every_row_has_usage_data_of_the_length_of_its_cdb(code: int, action: int | None, usage: str) -> None:
    mask = bytes.fromhex(usage)
    assert mask[0] == code
    assert len(mask) == CDB_BYTES[code >> 5]
    assert mask[-1] == 0, "no bit of the control byte is looked at"
    if action is not None:
        assert mask[1] & 0x1F == action


@pytest.mark.parametrize("timeouts", [False, True])
def test_all_rows_are_listed_once_in_order(target: Target, timeouts: bool) -> None:  # SPC-4 6.35.2
    data = good(execute(target, report(0, timeouts=timeouts)))
    wanted = b""
    for code, action, usage in sorted(USAGES, key=lambda row: (row[0], row[1] or 0)):
        flags = 2 * timeouts + (action is not None)
        wanted += struct.pack(">BxHxBH", code, action or 0, flags, len(bytes.fromhex(usage)))
        wanted += TIMEOUTS * timeouts
    assert data == struct.pack(">I", len(wanted)) + wanted
    assert good(execute(target, report(0, allocation=5))) == good(execute(target, report(0)))[:5]


@pytest.mark.parametrize("option", [1, 3])
def test_one_operation_with_its_usage_data(target: Target, option: int) -> None:  # SPC-4 6.35.3
    read = bytes.fromhex("00 03 000a 28 f8 ffffffff 00 ffff 00")
    assert good(execute(target, report(option, 0x28))) == read
    assert good(execute(target, report(option, 0x28, timeouts=True))) == b"\0\x83" + read[2:] + TIMEOUTS


@pytest.mark.parametrize("option", [2, 3])
def test_one_service_action_with_its_usage_data(target: Target, option: int) -> None:
    wanted = bytes.fromhex("00 03 0010 9e 12 ffffffffffffffff ffffffff 00 00")
    assert good(execute(target, report(option, 0x9E, 0x12))) == wanted
    assert good(execute(target, report(option, 0x9E, 0x13))) == b"\0\1\0\0"


@pytest.mark.parametrize("option", [1, 2, 3])
def test_what_does_not_exist_is_said_not_to_be_supported(target: Target, option: int) -> None:
    assert good(execute(target, report(option, 0xFF))) == b"\0\1\0\0"


def test_asking_for_a_service_action_where_there_is_none_or_the_other_way_round_is_refused(target: Target) -> None:
    for request in (report(2, 0x28), report(1, 0x9E), report(4), report(7)):
        outcome = execute(target, request)
        assert (refusal(outcome), field_pointer(outcome)) == (sense.INVALID_FIELD_IN_CDB, (2, 2))
    assert good(execute(target, report(3, 0x28, 1))) == b"\0\1\0\0"


def test_another_service_action_of_maintenance_in_is_refused(target: Target) -> None:
    outcome = execute(target, b"\xa3\x0d")
    assert (refusal(outcome), field_pointer(outcome)) == (sense.INVALID_FIELD_IN_CDB, (1, 4))
