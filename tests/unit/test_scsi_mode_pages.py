"""MODE SENSE and MODE SELECT, byte by byte (SPC-4 6.11 to 6.14, 7.5)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi import sense
from hil.scsi.target import Target
from tests.unit.scsi_initiator import (
    BLOCKS,
    PORTAL,
    execute,
    field_pointer,
    good,
    make_target,
    read_10,
    refusal,
    write_10,
)

PAGES = (
    bytes.fromhex("01 0a c0 00 00 00 00 00 00 00 00 00"),  # SBC-3 6.5.8
    bytes.fromhex("08 12 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"),  # SBC-3 6.5.5
    bytes.fromhex("0a 0a 00 10 00 00 00 00 ff ff 00 00"),  # SPC-4 7.5.8
    bytes.fromhex("1c 0a 08 00 00 00 00 00 00 00 00 00"),  # SPC-4 7.5.11
)
CONTROL = PAGES[2]
PROTECTED = CONTROL[:4] + b"\x08" + CONTROL[5:]
DESCRIPTOR = struct.pack(">II", BLOCKS, 512)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path)
    yield target
    target.units[0].medium.close()


def select_6(pages: bytes, flags: int = 0x10, *, header: bytes = bytes(4)) -> tuple[bytes, bytes]:
    data = header + pages
    return bytes((0x15, flags, 0, 0, len(data), 0)), data


def test_mode_sense_6_gives_all_pages_in_the_order_of_their_codes(target: Target) -> None:  # SPC-4 6.13
    pages = b"".join(PAGES)
    assert good(execute(target, b"\x1a\0\x3f\0\xff\0")) == bytes((3 + 8 + len(pages), 0, 0x10, 8)) + DESCRIPTOR + pages
    assert good(execute(target, b"\x1a\x08\x3f\xff\xff\0")) == bytes((3 + len(pages), 0, 0x10, 0)) + pages
    assert len(good(execute(target, b"\x1a\0\x3f\0\x07\0"))) == 7


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("control", [0x00, 0x80])  # current, default
def test_mode_sense_6_gives_one_page(target: Target, page: bytes, control: int) -> None:
    assert good(execute(target, bytes((0x1A, 8, control | page[0], 0, 255, 0))))[4:] == page


def test_mode_sense_10_has_the_longer_header_and_descriptor(target: Target) -> None:  # SPC-4 6.14
    long = struct.pack(">HBBBBH", 6 + 16 + 12, 0, 0x10, 1, 0, 16) + struct.pack(">QII", BLOCKS, 0, 512)
    assert good(execute(target, b"\x5a\x10\x0a\0\0\0\0\0\xff\0")) == long + CONTROL
    short = struct.pack(">HBBBBH", 6 + 8 + 12, 0, 0x10, 0, 0, 8) + DESCRIPTOR
    assert good(execute(target, b"\x5a\0\x0a\0\0\0\0\0\xff\0")) == short + CONTROL


def test_only_swp_is_changeable_and_no_page_is_saved(target: Target) -> None:  # SPC-4 7.5.8
    assert good(execute(target, b"\x1a\x08\x4a\0\xff\0"))[4:] == bytes((0x0A, 10, 0, 0, 8)) + bytes(7)
    for page in (PAGES[0], PAGES[1], PAGES[3]):
        wanted = page[:2] + bytes(len(page) - 2)
        assert good(execute(target, bytes((0x1A, 8, 0x40 | page[0], 0, 255, 0))))[4:] == wanted
    assert refusal(execute(target, b"\x1a\x08\xc8\0\xff\0")) == sense.SAVING_NOT_SUPPORTED


def test_a_page_that_does_not_exist_is_refused(target: Target) -> None:
    outcome = execute(target, b"\x1a\x08\x02\0\xff\0")
    assert (refusal(outcome), outcome.sense[17]) == (sense.INVALID_FIELD_IN_CDB, 2)
    outcome = execute(target, b"\x1a\x08\x0a\x01\xff\0")
    assert (refusal(outcome), outcome.sense[17]) == (sense.INVALID_FIELD_IN_CDB, 3)


def test_swp_protects_the_medium_from_every_kind_of_write_and_not_from_reads(target: Target) -> None:  # SPC-4 7.5.8
    good(execute(target, write_10(0, 1), b"a" * 512))
    assert good(execute(target, *select_6(PROTECTED))) == b""
    assert good(execute(target, b"\x1a\x08\x0a\0\xff\0")) == bytes((15, 0, 0x90, 0)) + PROTECTED
    assert good(execute(target, b"\x1a\x08\x8a\0\xff\0"))[4:] == CONTROL
    block = b"b" * 512
    unmap = struct.pack(">HH4xQI4x", 22, 16, 0, 1)
    writes = [
        (write_10(0, 1), block),
        (b"\x2e\0\0\0\0\0\0\0\1\0", block),
        (b"\x41\0\0\0\0\0\0\0\1\0", block),
        (b"\x41\x08\0\0\0\0\0\0\1\0", bytes(512)),
        (b"\x42\0\0\0\0\0\0\0\x18\0", unmap),
        (b"\x89".ljust(13, b"\0") + b"\1", b"a" * 512 + block),
        (b"\x8b".ljust(13, b"\0") + b"\1", block),
        (b"\x9c".ljust(13, b"\0") + b"\1", block),
    ]
    for cdb, data in writes:
        assert refusal(execute(target, cdb, data)) == sense.WRITE_PROTECTED, hex(cdb[0])
    assert good(execute(target, read_10(0, 1))) == b"a" * 512
    assert good(execute(target, *select_6(CONTROL))) == b""
    good(execute(target, write_10(0, 1), block))


def test_the_other_nexuses_are_told_of_a_change_and_only_of_a_change(target: Target) -> None:  # SPC-4 6.11
    other, asking = target.nexus("iqn.test:other", PORTAL), target.nexus("iqn.test:asking", PORTAL)
    other.attentions.clear()
    asking.attentions.clear()
    good(execute(target, *select_6(CONTROL), nexus=asking))
    assert not other.attentions
    good(execute(target, *select_6(PROTECTED), nexus=asking))
    assert (other.attentions, asking.attentions) == ({0: [sense.MODE_PARAMETERS_CHANGED]}, {})


def test_a_reset_of_the_unit_ends_write_protection(target: Target) -> None:  # SAM-5 6.3.3
    good(execute(target, *select_6(PROTECTED)))
    target.reset_unit(0)
    good(execute(target, write_10(0, 1), b"b" * 512))


def test_mode_select_10_takes_a_long_block_descriptor(target: Target) -> None:  # SPC-4 6.12
    data = bytes((0, 0, 0, 0, 1, 0, 0, 16)) + struct.pack(">QII", BLOCKS, 0, 512) + PROTECTED
    good(execute(target, b"\x55\x10\0\0\0\0\0" + struct.pack(">Hx", len(data)), data))
    assert target.units[0].medium.write_protected


def test_mode_select_refuses_what_it_cannot_change_and_then_changes_nothing(target: Target) -> None:
    caching_off = PAGES[1][:2] + bytes(18)
    wrong = [
        PROTECTED + caching_off,
        PROTECTED + b"\x02\x0a" + bytes(10),
        PROTECTED[:1] + b"\x0b" + PROTECTED[2:],
        b"\x8a" + PROTECTED[1:],  # PS
    ]
    for pages in wrong:
        assert refusal(execute(target, *select_6(pages))) == sense.INVALID_FIELD_IN_PARAMETERS
    smaller = struct.pack(">II", BLOCKS - 1, 512)
    resize = select_6(smaller + PROTECTED, header=b"\0\0\0\x08")
    assert refusal(execute(target, *resize)) == sense.INVALID_FIELD_IN_PARAMETERS
    assert refusal(execute(target, *select_6(PROTECTED[:-1]))) == sense.PARAMETER_LIST_LENGTH
    assert refusal(execute(target, *select_6(b"", header=b"\0\0\0"))) == sense.PARAMETER_LIST_LENGTH
    assert refusal(execute(target, *select_6(b"", header=b"\0\0\0\x08"))) == sense.PARAMETER_LIST_LENGTH
    for flags, field in ((0x00, (1, 4)), (0x11, (1, 0))):
        outcome = execute(target, *select_6(PROTECTED, flags))
        assert (refusal(outcome), field_pointer(outcome)) == (sense.INVALID_FIELD_IN_CDB, field)
    assert good(execute(target, b"\x15\x10\0\0\0\0")) == b""
    assert not target.units[0].medium.write_protected
