"""Thin provisioning: UNMAP, WRITE SAME, GET LBA STATUS and what the pages say of them (SBC-3 4.7)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hil.scsi import medium, sense
from hil.scsi.command import Command, Nexus
from hil.scsi.inquiry import UNMAP_DESCRIPTORS_MAX, WRITE_SAME_BLOCKS_MAX
from hil.scsi.iscsi import pdu as p
from hil.scsi.ledger import Ledger, read_ledger
from hil.scsi.target import Target
from tests.unit.scsi_initiator import (
    BLOCKS,
    SERIAL,
    Initiator,
    cdb,
    execute,
    field_pointer,
    good,
    information,
    make_target,
    read_10,
    refusal,
    write_10,
)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    yield target
    target.units[0].medium.close()


def unmap(*extents: tuple[int, int]) -> tuple[bytes, bytes]:
    descriptors = b"".join(struct.pack(">QI4x", *extent) for extent in extents)
    data = struct.pack(">HH4x", 6 + len(descriptors), len(descriptors)) + descriptors
    return b"\x42" + bytes(6) + struct.pack(">Hx", len(data)), data


def statuses(target: Target, lba: int, allocation: int = 4096) -> list[tuple[int, int, int]]:
    data = good(execute(target, struct.pack(">BBQIxx", 0x9E, 0x12, lba, allocation)))
    assert struct.unpack_from(">II", data) == (len(data) - 4, 0)
    return list(struct.iter_unpack(">QIB3x", data[8:]))


def allocated(target: Target) -> int:
    return Path(target.units[0].medium.path).stat().st_blocks


def test_block_limits_page(target: Target) -> None:  # SBC-3 6.6.3
    assert good(execute(target, b"\x12\x01\xb0\0\xff\0")) == bytes.fromhex(
        "00 b0 003c  01 ff 0008 00000800 00000800 00000000"
        "00008000 00000100 00000008 80000000 0000000000008000 00000800 00000000 00000000 00000000 00000000"
    )


def test_logical_block_provisioning_page(target: Target) -> None:  # SBC-3 6.6.4
    assert good(execute(target, b"\x12\x01\xb2\0\xff\0")) == bytes.fromhex("00 b2 0004 00 e4 02 00")


def test_a_new_unit_is_deallocated_and_what_is_written_is_mapped(target: Target) -> None:  # SBC-3 5.4
    assert statuses(target, 0) == [(0, BLOCKS, 1)]
    good(execute(target, write_10(16, 8), b"x" * 4096))
    assert statuses(target, 0) == [(0, 16, 1), (16, 8, 0), (24, BLOCKS - 24, 1)]
    assert statuses(target, 19) == [(19, 5, 0), (24, BLOCKS - 24, 1)]
    assert statuses(target, BLOCKS - 1) == [(BLOCKS - 1, 1, 1)]


def test_lba_status_is_cut_to_the_allocation_length(target: Target) -> None:
    good(execute(target, write_10(16, 8), b"x" * 4096))
    assert statuses(target, 0, 24) == [(0, 16, 1)]
    assert statuses(target, 0, 24 + 16) == [(0, 16, 1), (16, 8, 0)]
    assert len(good(execute(target, struct.pack(">BBQIxx", 0x9E, 0x12, 0, 6)))) == 6
    outcome = execute(target, struct.pack(">BBQIxx", 0x9E, 0x12, 2**64 - 1, 24))
    assert refusal(outcome) == sense.LBA_OUT_OF_RANGE


def test_unmapped_blocks_read_as_zeros_and_free_the_host_s_space(target: Target) -> None:  # SBC-3 5.28
    good(execute(target, write_10(0, 64), b"x" * 64 * 512))
    before = allocated(target)
    assert good(execute(target, *unmap((8, 8), (33, 2)))) == b""
    wanted = bytearray(b"x" * 64 * 512)
    wanted[8 * 512 : 16 * 512] = bytes(8 * 512)
    wanted[33 * 512 : 35 * 512] = bytes(2 * 512)
    assert good(execute(target, read_10(0, 64))) == wanted
    assert allocated(target) == before - 8
    assert statuses(target, 0)[:3] == [(0, 8, 0), (8, 8, 1), (16, 48, 0)]  # a part of a page is no hole


def test_without_holes_in_the_file_system_unmap_writes_zeros(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medium, "_punch_hole", lambda *_: False)
    good(execute(target, write_10(0, 64), b"x" * 64 * 512))
    good(execute(target, *unmap((8, 8))))
    assert good(execute(target, read_10(0, 64))) == b"x" * 4096 + bytes(4096) + b"x" * 48 * 512


def test_unmap_tells_the_ledger_the_span_it_named(target: Target) -> None:
    request, data = unmap((40, 2), (0, 0), (10, 5))
    command = Command(Nexus(0, "iqn.test:a", "p"), 0, request.ljust(16, b"\0"), data, 0)
    target.execute(command)
    assert (command.lba, command.blocks, command.changed) == (10, 32, True)


@pytest.mark.parametrize("extents", [(), ((0, 0),), ((BLOCKS, 0),)])
def test_unmapping_nothing_is_no_error(target: Target, extents: tuple[tuple[int, int], ...]) -> None:
    assert good(execute(target, *unmap(*extents))) == b""
    assert good(execute(target, b"\x42" + bytes(9))) == b""


def test_no_descriptor_takes_effect_if_one_is_wrong(target: Target) -> None:
    good(execute(target, write_10(0, 1), b"x" * 512))
    outcome = execute(target, *unmap((0, 1), (BLOCKS, 1)))
    assert (refusal(outcome), information(outcome)) == (sense.LBA_OUT_OF_RANGE, BLOCKS)
    assert refusal(execute(target, *unmap((0, 1), (2**64 - 1, 2)))) == sense.LBA_OUT_OF_RANGE
    too_many = unmap(*[(0, 1)] * (UNMAP_DESCRIPTORS_MAX + 1))
    assert refusal(execute(target, *too_many)) == sense.INVALID_FIELD_IN_PARAMETERS
    assert refusal(execute(target, *unmap((0, 2**32 - 1)))) == sense.INVALID_FIELD_IN_PARAMETERS
    request, data = unmap((0, 1))
    assert refusal(execute(target, request, data[:-1])) == sense.PARAMETER_LIST_LENGTH
    assert refusal(execute(target, b"\x42" + bytes(6) + b"\0\x07\0", data)) == sense.PARAMETER_LIST_LENGTH
    assert refusal(execute(target, b"\x42" + bytes(6) + b"\0\x17\0", data)) == sense.PARAMETER_LIST_LENGTH
    outcome = execute(target, b"\x42\x01" + request[2:], data)
    assert (refusal(outcome), field_pointer(outcome)) == (sense.INVALID_FIELD_IN_CDB, (1, 0))
    assert good(execute(target, read_10(0, 1))) == b"x" * 512


def test_an_incomplete_last_descriptor_is_ignored(target: Target) -> None:  # SBC-3 5.28
    good(execute(target, write_10(0, 2), b"x" * 1024))
    data = struct.pack(">HH4xQI4xQ", 30, 24, 0, 1, 1)
    good(execute(target, b"\x42" + bytes(6) + struct.pack(">Hx", len(data)), data))
    assert good(execute(target, read_10(0, 2))) == bytes(512) + b"x" * 512


@pytest.mark.parametrize("code", [0x41, 0x93])
def test_write_same_writes_one_block_everywhere(target: Target, code: int) -> None:  # SBC-3 5.43
    block = bytes(range(256)) * 2
    good(execute(target, cdb(code, 3, 2500), block))
    assert good(execute(target, read_10(2, 2))) == bytes(512) + block
    assert good(execute(target, read_10(2502, 2))) == block + bytes(512)
    assert good(execute(target, read_10(1000, 1000))) == block * 1000


@pytest.mark.parametrize("code", [0x41, 0x93])
def test_write_same_with_unmap_unmaps_only_zeros(target: Target, code: int) -> None:  # SBC-3 4.7
    good(execute(target, write_10(0, 64), b"x" * 64 * 512))
    good(execute(target, cdb(code, 8, 16, 0x08), bytes(512)))
    assert statuses(target, 0)[:2] == [(0, 8, 0), (8, 16, 1)]
    good(execute(target, cdb(code, 8, 8, 0x08), b"y" * 512))
    assert good(execute(target, read_10(0, 24))) == b"x" * 4096 + b"y" * 4096 + bytes(4096)


def test_write_same_16_without_data_out_writes_zeros(target: Target) -> None:  # SBC-3 5.44, NDOB
    good(execute(target, write_10(0, 8), b"x" * 4096))
    good(execute(target, cdb(0x93, 2, 2, 0x01)))
    assert good(execute(target, read_10(0, 8))) == b"x" * 1024 + bytes(1024) + b"x" * 2048


@pytest.mark.parametrize("code", [0x41, 0x93])
@pytest.mark.parametrize(
    ("flags", "field"), [(0x10, (1, 4)), (0x18, (1, 4)), (0x04, (1, 2)), (0x02, (1, 2)), (0x20, (1, 7))]
)
def test_write_same_refuses_anchor_protection_and_obsolete_bits(
    target: Target, code: int, flags: int, field: tuple[int, int]
) -> None:
    outcome = execute(target, cdb(code, 0, 1, flags), b"x" * 512)
    assert (refusal(outcome), field_pointer(outcome)) == (sense.INVALID_FIELD_IN_CDB, field)
    assert good(execute(target, read_10(0, 1))) == bytes(512)


@pytest.mark.parametrize(("code", "byte"), [(0x41, 7), (0x93, 10)])
@pytest.mark.parametrize("size", [0, 256, 1024])
def test_write_same_with_other_than_one_block_of_data_is_refused(
    target: Target, code: int, byte: int, size: int
) -> None:
    outcome = execute(target, cdb(code, 0, 1), b"x" * size)
    assert (refusal(outcome), outcome.sense[17]) == (sense.INVALID_FIELD_IN_CDB, byte)
    assert good(execute(target, read_10(0, 1))) == bytes(512)


@pytest.mark.parametrize("code", [0x41, 0x93])
def test_write_same_of_no_block_or_too_many_is_refused(target: Target, code: int) -> None:  # WSNZ=1
    assert refusal(execute(target, cdb(code, 0, 0), b"x" * 512)) == sense.INVALID_FIELD_IN_CDB
    target.units[0].blocks = 2**40
    outcome = execute(target, cdb(code, 0, WRITE_SAME_BLOCKS_MAX + 1), b"x" * 512)
    assert refusal(outcome) == sense.INVALID_FIELD_IN_CDB


def test_unmap_of_blocks_further_apart_than_the_ledger_can_say_is_recorded_as_far_as_it_can(tmp_path: Path) -> None:
    with (
        closing(Ledger(tmp_path / "ledger.bin")) as ledger,
        medium.Medium(str(tmp_path / "huge.raw"), 2**41 + 2**20) as huge,
    ):
        target = Target(ledger=ledger)
        target.add_unit(0, huge, SERIAL)
        initiator = Initiator(target)
        command, data = unmap((0, 1), (2**32 + 8, 1))
        [(answer, _)] = initiator.command(command, data, edtl=len(data), flags=p.FINAL | p.WRITE)
        assert isinstance(answer, p.ScsiResponse)
        assert answer.status == sense.Status.GOOD
    [entry] = read_ledger(tmp_path / "ledger.bin")
    assert (entry.lba, entry.blocks, entry.changed) == (0, 2**32 - 1, True)
