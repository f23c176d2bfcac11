"""A fault for a range of blocks strikes every operation that is about one of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.scsi.iscsi import pdu as p
from hil.scsi.medium import Medium
from hil.scsi.sense import Status
from hil.scsi.target import Target
from tests.unit.scsi_fence import NEW, VICTIM, F, R, W, entries, pair, status
from tests.unit.scsi_initiator import BLOCKS, Initiator, cdb, make_target
from tests.unit.scsi_reserve import GOOD, REGISTER_AND_IGNORE, out_cdb, out_data


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path, ledger=True)
    yield target
    target.units[0].medium.close()
    assert target.ledger is not None
    target.ledger.close()


def unmap(*extents: tuple[int, int]) -> tuple[bytes, bytes]:
    descriptors = b"".join(struct.pack(">QI4x", lba, blocks) for lba, blocks in extents)
    data = struct.pack(">HH4x", 6 + len(descriptors), len(descriptors)) + descriptors
    return struct.pack(">BBIxHx", 0x42, 0, 0, len(data)), data


def about(lba: int, blocks: int) -> dict[str, tuple[bytes, bytes]]:
    """CDB and data of every operation about these blocks."""
    data = NEW * blocks
    plain = {code: (cdb(code, lba, blocks), data) for code in (0x2A, 0xAA, 0x8A, 0x2E, 0xAE, 0x8E, 0x8B)}
    return {
        **{f"{code:02x}h": request for code, request in plain.items()},
        "WRITE SAME (10)": (cdb(0x41, lba, blocks), NEW),
        "WRITE SAME (16)": (cdb(0x93, lba, blocks, 0x09), b""),
        "WRITE ATOMIC": (struct.pack(">BBQHHxx", 0x9C, 0, lba, 0, blocks), data),
        "COMPARE AND WRITE": (struct.pack(">BBQxxxBxx", 0x89, 0, lba, blocks), data * 2),
        "UNMAP": unmap((lba + blocks - 1, 1), (lba, 1)),
        "SYNCHRONIZE CACHE (10)": (cdb(0x35, lba, blocks), b""),
        "SYNCHRONIZE CACHE (16)": (cdb(0x91, lba, blocks), b""),
        "PRE-FETCH (10)": (cdb(0x34, lba, blocks), b""),
        "VERIFY (10)": (cdb(0x2F, lba, blocks), b""),
    }


def run(node: Initiator, request: tuple[bytes, bytes]) -> int:
    found, data = request
    return status(node.command(found, data, edtl=len(data), flags=F | (W if data else R)))


@pytest.mark.parametrize("name", about(0, 1))
@pytest.mark.parametrize(("lba", "hit"), [(7, False), (8, True), (11, True), (12, False)])
def test_it_strikes_what_touches_the_range_and_nothing_beside_it(
    target: Target, name: str, lba: int, hit: bool
) -> None:
    _, victim = pair(target)
    target.faults.inject("error", VICTIM._replace(lba=(10, 11)), parameters={"sense": "busy"})
    assert (run(victim, about(lba, 3)[name]) == Status.BUSY) == hit
    assert (entries(target)[-1].faults == (1,)) == hit


@pytest.mark.parametrize("code", [0x35, 0x91, 0x34, 0x90])
def test_a_command_for_all_blocks_up_to_the_end_touches_every_range_behind_its_beginning(  # SBC-3 5.8, 5.26
    target: Target, code: int
) -> None:
    _, victim = pair(target)
    target.faults.inject("error", VICTIM._replace(lba=(BLOCKS - 1, BLOCKS - 1)), parameters={"sense": "busy"})
    assert run(victim, (cdb(code, 5, 0), b"")) == Status.BUSY
    target.faults.heal(None)
    target.faults.inject("error", VICTIM._replace(lba=(0, 4)), parameters={"sense": "busy"})
    assert run(victim, (cdb(code, 5, 0), b"")) == GOOD


def test_an_unmap_without_a_list_and_a_command_about_no_blocks_touch_nothing(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("error", VICTIM._replace(lba=(0, BLOCKS)), parameters={"sense": "busy"})
    assert run(victim, unmap()) == GOOD
    assert run(victim, (cdb(0x2A, 0, 0), b"")) == GOOD
    assert run(victim, (struct.pack(">BBIxHx", 0x42, 0, 0, 24), b"\0\x16\xff\xff" + bytes(20))) != Status.BUSY
    assert status(victim.command(out_cdb(REGISTER_AND_IGNORE), out_data(0, 5), edtl=24, flags=F | W)) == GOOD


def test_an_unmap_that_a_reservation_refuses_is_in_the_ledger_with_its_extent(target: Target) -> None:
    pair(target)
    other = Initiator(target, "iqn.test:other")
    assert run(other, unmap((20, 4), (8, 2))) == Status.RESERVATION_CONFLICT
    entry = entries(target)[-1]
    assert (entry.name, entry.lba, entry.blocks) == ("UNMAP", 8, 16)


def test_a_span_of_more_blocks_than_the_ledger_has_bits_for_is_told_as_the_most_that_it_can_say(
    target: Target, tmp_path: Path
) -> None:
    size_bytes = 3 * 1024**4
    target.add_unit(1, Medium(str(tmp_path / "large.raw"), size_bytes), "00112233445566ab")
    _, victim = pair(target)
    last = size_bytes // 512 - 1
    found, data = unmap((0, 1), (last, 1))
    for code, out in ((found, data), (cdb(0x91, 0, 0), b"")):
        flags = F | (W if out else R)
        request = p.ScsiCommand(p.Op.SCSI_COMMAND, flags, 0, 1 << 48, 77, len(out), victim.cmd_sn, 0, code)
        victim.cmd_sn += 1
        assert status(victim.send(request, out)) == GOOD
        assert (entries(target)[-1].lba, entries(target)[-1].blocks) == (0, 2**32 - 1)
    target.units[1].medium.close()
