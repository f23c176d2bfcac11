"""Every operation code: data format, allocation length, refusals (SPC-4, SBC-3)."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi import identity, sense
from hil.scsi.command import Nexus
from hil.scsi.inquiry import TRANSFER_BLOCKS_MAX
from hil.scsi.operations import OPERATIONS
from hil.scsi.sense import Status
from hil.scsi.target import Target
from tests.unit.scsi_initiator import (
    BLOCKS,
    SERIAL,
    cdb,
    execute,
    field_pointer,
    good,
    make_target,
    read_10,
    refusal,
    write_10,
)

# Operations whose CDB has the LBA and the number of blocks where ``cdb`` puts them.
EXTENT_CODES = (
    *(0x08, 0x0A, 0x28, 0x2A, 0x2E, 0x2F, 0x34, 0x35, 0x41),
    *(0x88, 0x8A, 0x8B, 0x8E, 0x8F, 0x90, 0x91, 0x93, 0xA8, 0xAA, 0xAE, 0xAF),
)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    yield target
    target.units[0].medium.close()


def test_every_operation_code_without_a_row_is_refused_as_such(target: Target) -> None:  # SPC-4 4.3.4
    for code in sorted(set(range(256)) - set(OPERATIONS)):
        assert refusal(execute(target, bytes([code]))) == sense.INVALID_OPERATION_CODE, hex(code)


def test_standard_inquiry_is_a_disk_of_spc_4_that_queues(target: Target) -> None:  # SPC-4 6.6.2
    data = good(execute(target, b"\x12\0\0\0\xff\0"))
    assert len(data) == 96 == data[4] + 5
    assert (data[0], data[2], data[3] & 0x0F, data[7]) == (0, 6, 2, 2)
    assert data[8:36] == b"HIL     SHARED DISK     0001"


def test_inquiry_is_cut_to_the_allocation_length(target: Target) -> None:
    assert len(good(execute(target, b"\x12\0\0\0\x05\0"))) == 5
    assert good(execute(target, b"\x12\0\0\0\0\0")) == b""


def test_vital_product_data_lists_exactly_the_pages_there_are(target: Target) -> None:  # SPC-4 7.8
    data = good(execute(target, b"\x12\x01\0\0\xff\0"))
    assert data == b"\0\0\0\x06" + bytes((0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2))
    for page in range(256):
        outcome = execute(target, bytes((0x12, 1, page, 1, 0, 0)))
        if page in data[4:]:
            body = good(outcome)
            assert (body[1], int.from_bytes(body[2:4], "big")) == (page, len(body) - 4)
        else:
            assert refusal(outcome) == sense.INVALID_FIELD_IN_CDB


def test_identification_page_carries_the_naa_name_of_the_unit(target: Target) -> None:  # SPC-4 7.8.6
    data = good(execute(target, b"\x12\x01\x83\0\xff\0"))
    assert data[4:8] == b"\x01\x03\x00\x10"
    assert "naa." + data[8:24].hex() == identity.wwid(SERIAL)
    assert good(execute(target, b"\x12\x01\x80\0\xff\0"))[4:] == SERIAL.encode()


def test_block_limits_say_what_is_enforced(target: Target) -> None:  # SBC-3 6.6.3
    data = good(execute(target, b"\x12\x01\xb0\0\xff\0"))
    assert len(data) == 64
    assert struct.unpack_from(">I", data, 8) == (TRANSFER_BLOCKS_MAX,)
    outcome = execute(target, read_10(0, TRANSFER_BLOCKS_MAX + 1))
    assert refusal(outcome) == sense.INVALID_FIELD_IN_CDB
    assert len(good(execute(target, read_10(0, TRANSFER_BLOCKS_MAX)))) == TRANSFER_BLOCKS_MAX * 512


def test_inquiry_of_page_code_without_evpd_is_refused_with_a_field_pointer(target: Target) -> None:
    outcome = execute(target, b"\x12\0\x83\0\xff\0")
    assert refusal(outcome) == sense.INVALID_FIELD_IN_CDB
    assert outcome.sense[15:18] == b"\xc0\0\x02"


def test_read_capacity_10_and_16_tell_the_last_block_and_its_size(target: Target) -> None:  # SBC-3 5.15, 5.16
    assert good(execute(target, b"\x25")) == struct.pack(">II", BLOCKS - 1, 512)
    data = good(execute(target, b"\x9e\x10" + bytes(8) + b"\0\0\0\x20\0\0"))
    assert data == (struct.pack(">QI", BLOCKS - 1, 512) + b"\0\0\xc0\0").ljust(32, b"\0")  # LBPME, LBPRZ
    assert len(good(execute(target, b"\x9e\x10" + bytes(8) + b"\0\0\0\x0c\0\0"))) == 12
    assert refusal(execute(target, b"\x9e\x11")) == sense.INVALID_FIELD_IN_CDB


@pytest.mark.parametrize(("write", "read"), [(0x0A, 0x08), (0x2A, 0x28), (0xAA, 0xA8), (0x8A, 0x88)])
def test_what_was_written_is_read_by_every_length_of_cdb(target: Target, write: int, read: int) -> None:
    data = bytes(range(256)) * 4
    assert good(execute(target, cdb(write, 5, 2), data)) == b""
    assert good(execute(target, cdb(read, 5, 2))) == data
    assert good(execute(target, cdb(0x28, 4, 1))) == bytes(512)
    assert good(execute(target, cdb(0x28, 7, 1))) == bytes(512)


def test_zero_blocks_are_256_for_the_6_byte_forms_and_none_for_the_others(target: Target) -> None:  # SBC-3 5.10
    assert len(good(execute(target, cdb(0x08, 0, 0)))) == 256 * 512
    for code in (0x28, 0xA8, 0x88):
        assert good(execute(target, cdb(code, 0, 0))) == b""


@pytest.mark.parametrize("code", EXTENT_CODES)
def test_an_extent_that_leaves_the_unit_is_refused_and_nothing_is_written(target: Target, code: int) -> None:
    outcome = execute(target, cdb(code, BLOCKS - 1, 2), b"x" * 1024)
    assert refusal(outcome) == sense.LBA_OUT_OF_RANGE
    assert good(execute(target, read_10(BLOCKS - 1, 1))) == bytes(512)
    assert target.units[0].medium.blocks == BLOCKS
    assert Path(target.units[0].medium.path).stat().st_size == BLOCKS * 512


@pytest.mark.parametrize("code", [code for code in EXTENT_CODES if code >> 5 == 4])
def test_an_lba_near_2_to_the_64_is_refused(target: Target, code: int) -> None:
    assert refusal(execute(target, cdb(code, 2**64 - 1, 2), b"x" * 1024)) == sense.LBA_OUT_OF_RANGE


def test_protection_information_is_refused(target: Target) -> None:  # SBC-3 5.8, the unit has none
    for command in (read_10(0, 1, 0x20), write_10(0, 1, 0xE0)):
        assert refusal(execute(target, command, b"x" * 512)) == sense.INVALID_FIELD_IN_CDB
    assert good(execute(target, read_10(0, 1))) == bytes(512)


def test_a_write_with_too_little_data_writes_the_whole_blocks_that_came(target: Target) -> None:
    execute(target, write_10(0, 2), b"a" * 700)
    assert good(execute(target, read_10(0, 2))) == b"a" * 512 + bytes(512)


def test_a_truncated_file_is_a_medium_error_at_the_first_missing_block(target: Target) -> None:
    with Path(target.units[0].medium.path).open("r+b") as file:
        file.truncate(10 * 512)
    outcome = execute(target, read_10(8, 8))
    assert refusal(outcome) == sense.MEDIUM_READ_ERROR
    assert struct.unpack_from(">I", outcome.sense, 3) == (10,)


def test_report_luns_lists_the_units(target: Target) -> None:  # SPC-4 6.33
    for lun in (0, 9):
        assert good(execute(target, b"\xa0" + bytes(5) + b"\0\0\x01\0\0\0", lun=lun)) == b"\0\0\0\x08" + bytes(12)
    assert refusal(execute(target, b"\xa0" + bytes(5) + b"\0\0\0\x0f\0\0")) == sense.INVALID_FIELD_IN_CDB


def test_a_lun_that_does_not_exist_answers_inquiry_and_refuses_the_rest(target: Target) -> None:
    assert good(execute(target, b"\x12\0\0\0\xff\0", lun=3))[0] == 0x7F
    assert refusal(execute(target, b"\0", lun=3)) == sense.UNIT_NOT_SUPPORTED
    assert refusal(execute(target, write_10(0, 1), b"x" * 512, lun=3)) == sense.UNIT_NOT_SUPPORTED
    assert good(execute(target, b"\x03\0\0\0\x12\0", lun=3))[12] == 0x25


def test_a_new_nexus_is_told_of_power_on_at_its_first_command_once(target: Target) -> None:  # SAM-5 5.14
    nexus = Nexus(0, "iqn.test:b", "p")
    nexus.attentions[0] = [sense.POWER_ON]
    good(execute(target, b"\x12\0\0\0\xff\0", nexus=nexus))
    assert refusal(execute(target, write_10(0, 1), b"x" * 512, nexus=nexus)) == sense.POWER_ON
    assert good(execute(target, read_10(0, 1), nexus=nexus)) == bytes(512)


def test_request_sense_takes_the_unit_attention(target: Target) -> None:  # SPC-4 6.39
    nexus = Nexus(0, "iqn.test:b", "p")
    nexus.attentions[0] = [sense.POWER_ON]
    data = good(execute(target, b"\x03\0\0\0\xff\0", nexus=nexus))
    assert (data[2], data[12]) == (0x6, 0x29)
    good(execute(target, b"\0", nexus=nexus))
    assert good(execute(target, b"\x03\x01\0\0\xff\0", nexus=nexus)) == bytes((0x72, 0, 0, 0, 0, 0, 0, 0))


@pytest.mark.parametrize("code", [0x37, 0xB7])
def test_the_defect_lists_are_empty_in_the_format_asked_for(target: Target, code: int) -> None:  # SBC-3 5.17, 5.18
    if code == 0x37:
        assert good(execute(target, b"\x37\0\x1d\0\0\0\0\0\xff\0")) == b"\0\x1d\0\0"
    else:
        assert good(execute(target, b"\xb7\x0d" + bytes(4) + b"\0\0\0\xff\0\0")) == b"\0\x0d" + bytes(6)


@pytest.mark.parametrize(("flags", "bit"), [(0x10, 7), (0x30, 7), (0x02, 1), (0x03, 1)])
def test_start_stop_unit_refuses_power_conditions_and_ejecting(target: Target, flags: int, bit: int) -> None:
    outcome = execute(target, bytes((0x1B, 0, 0, 0, flags, 0)))  # SBC-3 5.25
    assert (refusal(outcome), field_pointer(outcome)) == (sense.INVALID_FIELD_IN_CDB, (4, bit))


def test_pre_fetch_promises_nothing(target: Target) -> None:  # SBC-3 5.8: GOOD, or CONDITION MET for all cached
    for request in (cdb(0x34, 0, 0), cdb(0x34, 5, 100, 0x02), cdb(0x90, BLOCKS - 1, 1)):
        assert good(execute(target, request)) == b""


@pytest.mark.parametrize("command", [b"\0", b"\x1b\0\0\0\x01", cdb(0x35, 0, 0), cdb(0x91, 0, 0)])
def test_commands_without_data_end_well(target: Target, command: bytes) -> None:
    assert good(execute(target, command)) == b""


@pytest.mark.parametrize("code", sorted(OPERATIONS))
def test_whatever_the_cdb_and_the_data_are_there_is_an_answer_and_nothing_outside_of_the_unit(
    target: Target, code: int
) -> None:
    choose = random.Random(code)
    path = Path(target.units[0].medium.path)
    for _ in range(200):
        # Mostly zeros, so that some get past the checks of their fields; few bits, so that LBAs are near the ends.
        fields = bytes(choose.choice((0, 0, 0, 1, 2, 8, 0x10, 0x20, 0xFF)) for _ in range(15))
        data = choose.randbytes(choose.choice((0, 1, 24, 512, 1024, 131072)))
        outcome = execute(target, bytes((code,)) + fields, data)
        assert outcome.status in (Status.GOOD, Status.CHECK_CONDITION, Status.RESERVATION_CONFLICT)
        assert bool(outcome.sense) == (outcome.status == Status.CHECK_CONDITION)
    assert path.stat().st_size == BLOCKS * 512
