"""Operations that read and write in one: COMPARE AND WRITE, ORWRITE, WRITE AND VERIFY; and VERIFY, WRITE ATOMIC."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi import sense
from hil.scsi.command import DONE, Command, Nexus
from hil.scsi.inquiry import TRANSFER_BLOCKS_MAX
from hil.scsi.target import Target
from tests.unit.scsi_initiator import (
    BLOCKS,
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


def compare_and_write(lba: int, blocks: int, flags: int = 0) -> bytes:
    return struct.pack(">BBQxxxBxx", 0x89, flags, lba, blocks)


def write_atomic(lba: int, blocks: int, boundary: int = 0) -> bytes:
    return struct.pack(">BBQHHxx", 0x9C, 0, lba, boundary, blocks)


def test_compare_and_write_writes_where_it_found_what_was_expected(target: Target) -> None:  # SBC-3 5.2
    good(execute(target, write_10(5, 2), b"a" * 1024))
    assert good(execute(target, compare_and_write(5, 2), b"a" * 1024 + b"b" * 1024)) == b""
    assert good(execute(target, read_10(4, 4))) == bytes(512) + b"b" * 1024 + bytes(512)


def test_compare_and_write_leaves_the_medium_alone_and_says_where_it_differs(target: Target) -> None:
    good(execute(target, write_10(5, 2), b"a" * 1023 + b"c"))
    outcome = execute(target, compare_and_write(5, 2), b"a" * 1024 + b"b" * 1024)
    assert (refusal(outcome), information(outcome)) == (sense.MISCOMPARE, 1023)
    assert good(execute(target, read_10(5, 2))) == b"a" * 1023 + b"c"


def test_compare_and_write_tells_the_ledger_what_it_wrote(target: Target) -> None:
    command = Command(Nexus(0, "iqn.test:a", "p"), 0, compare_and_write(5, 1), bytes(512) + b"b" * 512, 0)
    target.execute(command)
    assert (command.lba, command.blocks, command.changed, bytes(command.data)) == (5, 1, True, b"b" * 512)


@pytest.mark.parametrize("size", [0, 512, 1023, 1025, 2048])
def test_compare_and_write_with_another_amount_of_data_is_refused(target: Target, size: int) -> None:
    outcome = execute(target, compare_and_write(5, 1), bytes(size))
    assert (refusal(outcome), outcome.sense[17]) == (sense.INVALID_FIELD_IN_CDB, 13)


def test_compare_and_write_checks_its_cdb(target: Target) -> None:
    assert refusal(execute(target, compare_and_write(BLOCKS, 1), bytes(1024))) == sense.LBA_OUT_OF_RANGE
    outcome = execute(target, compare_and_write(0, 1, 0x20), bytes(1024))
    assert (refusal(outcome), field_pointer(outcome)) == (sense.INVALID_FIELD_IN_CDB, (1, 7))
    assert good(execute(target, compare_and_write(0, 0))) == b""


def test_orwrite_sets_bits(target: Target) -> None:  # SBC-3 5.5
    good(execute(target, write_10(5, 2), b"\x0f\xf0" * 512))
    command = Command(Nexus(0, "iqn.test:a", "p"), 0, cdb(0x8B, 5, 2), b"\x35" * 1024, 0)
    assert target.execute(command) == DONE
    assert good(execute(target, read_10(4, 4))) == bytes(512) + b"\x3f\xf5" * 512 + bytes(512)
    assert (command.changed, command.data) == (True, b"\x3f\xf5" * 512)


def test_write_atomic_is_one_write_or_none(target: Target) -> None:  # SBC-4
    good(execute(target, write_atomic(5, 2), b"a" * 1024))
    assert good(execute(target, read_10(4, 4))) == bytes(512) + b"a" * 1024 + bytes(512)
    outcome = execute(target, write_atomic(5, 2), b"b" * 1023)
    assert refusal(outcome) == sense.INVALID_FIELD_IN_CDB
    assert good(execute(target, read_10(5, 1))) == b"a" * 512
    outcome = execute(target, write_atomic(5, 2, boundary=1), b"b" * 1024)
    assert (refusal(outcome), outcome.sense[17]) == (sense.INVALID_FIELD_IN_CDB, 10)
    outcome = execute(target, write_atomic(5, TRANSFER_BLOCKS_MAX + 1))
    assert (refusal(outcome), outcome.sense[17]) == (sense.INVALID_FIELD_IN_CDB, 12)


@pytest.mark.parametrize("code", [0x2E, 0x8E, 0xAE])
def test_write_and_verify_writes(target: Target, code: int) -> None:  # SBC-3 5.37
    good(execute(target, cdb(code, 5, 2), b"a" * 1024))
    good(execute(target, cdb(code, 6, 1, 0x02), b"b" * 512))
    assert good(execute(target, read_10(4, 4))) == bytes(512) + b"a" * 512 + b"b" * 512 + bytes(512)
    for bytchk in (0x04, 0x06):
        outcome = execute(target, cdb(code, 5, 1, bytchk), b"c" * 512)
        assert (refusal(outcome), field_pointer(outcome)) == (sense.INVALID_FIELD_IN_CDB, (1, 2))


def test_write_and_verify_finds_what_the_medium_lost(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target.units[0].medium, "write", lambda lba, data: len(data))
    assert good(execute(target, cdb(0x2E, 5, 2), b"a" * 1024)) == b""
    outcome = execute(target, cdb(0x2E, 5, 2, 0x02), bytes(600) + b"a" * 424)
    assert (refusal(outcome), information(outcome)) == (sense.MISCOMPARE, 600)


@pytest.mark.parametrize("code", [0x2F, 0x8F, 0xAF])
def test_verify_compares_only_what_bytchk_says(target: Target, code: int) -> None:  # SBC-3 5.29
    execute(target, write_10(3, 2), b"a" * 1024)
    assert good(execute(target, cdb(code, 3, 2))) == b""
    assert good(execute(target, cdb(code, 3, 2, 0x02), b"a" * 1024)) == b""
    assert good(execute(target, cdb(code, 3, 2, 0x06), b"a" * 512)) == b""
    outcome = execute(target, cdb(code, 3, 2, 0x02), b"a" * 1000 + b"b" * 24)
    assert refusal(outcome) == sense.MISCOMPARE
    assert struct.unpack_from(">I", outcome.sense, 3) == (1000,)
    assert refusal(execute(target, cdb(code, 3, 2, 0x04))) == sense.INVALID_FIELD_IN_CDB
