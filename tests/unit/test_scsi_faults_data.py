"""Faults about data: what reaches the medium, what is read, and that the ledger says what really happened."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.errors import UsageError
from hil.scsi.digest import digest
from hil.scsi.faults.selection import Selection, directions
from hil.scsi.iscsi import pdu as p
from hil.scsi.ledger import Entry, read_all
from hil.scsi.ledger_records import Placed, PowerLost, Reverted
from hil.scsi.sense import Status
from hil.scsi.target import Target
from tests.unit.scsi_fence import NEW, OLD, VICTIM, F, R, W, disk, entries, pair, status
from tests.unit.scsi_initiator import BLOCKS, Initiator, make_target, read_10, write_10
from tests.unit.scsi_reserve import CHECK, GOOD
from tests.unit.scsi_timers import ManualTimers

SYNC = bytes.fromhex("35000000000000000000")
FUA = 0x08


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = make_target(tmp_path, ledger=True)
    target.faults.timers = ManualTimers()
    yield target
    target.units[0].medium.close()
    assert target.ledger is not None
    target.ledger.close()


def pattern(letter: bytes, blocks: int) -> bytes:
    """Blocks that differ from one another."""
    return b"".join(letter * 504 + struct.pack(">Q", index) for index in range(blocks))


def put(node: Initiator, lba: int, data: bytes, flags: int = 0) -> int:
    blocks = len(data) // 512
    return status(node.command(write_10(lba, blocks, flags), data, edtl=len(data), flags=F | W))


def get(node: Initiator, lba: int, blocks: int) -> bytes:
    answers = node.command(read_10(lba, blocks), edtl=512 * blocks, flags=F | R)
    assert isinstance(answers[-1][0], p.DataIn)
    return b"".join(data for _, data in answers)


def medium(target: Target, lba: int, blocks: int) -> bytes:
    return target.units[0].medium.read(lba, blocks)


def last_write(target: Target) -> Entry:
    return [entry for entry in entries(target) if entry.writes][-1]


@pytest.mark.parametrize(("sectors", "more"), [(0, 0), (1, 0), (3, 0), (0, 200), (2, 1), (7, 511), (8, 0), (9, 9)])
def test_of_a_torn_write_only_the_beginning_reaches_the_medium(target: Target, sectors: int, more: int) -> None:
    _, victim = pair(target)
    old, new = pattern(b"o", 8), pattern(b"n", 8)
    put(victim, 20, old)
    target.faults.inject("torn", VICTIM, 1, parameters={"sectors": sectors, "bytes": more})
    assert put(victim, 20, new) == GOOD
    kept = min(sectors * 512 + more, len(new))
    found = medium(target, 20, 8)
    assert found == new[:kept] + old[kept:]
    entry = last_write(target)
    assert entry.digest == digest(new)
    whole = -(-kept // 512) * 512
    assert entry.placed == ((Placed(0, 20, whole, digest(found[:whole])),) if kept else ())
    assert entry.changed == bool(kept)
    assert put(victim, 20, new) == GOOD
    assert medium(target, 20, 8) == new


def test_a_lost_write_is_answered_and_not_written(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("lost", VICTIM, 1)
    assert put(victim, 3, NEW) == GOOD
    assert disk(target, 3) == OLD
    entry = last_write(target)
    assert (entry.status, entry.changed, entry.placed, entry.faults) == (GOOD, False, (), (1,))


@pytest.mark.parametrize(
    ("lba", "shift", "where"), [(10, 5, 15), (10, -5, 5), (0, -1, BLOCKS - 2), (BLOCKS - 2, 1, 0), (0, BLOCKS - 1, 1)]
)
def test_a_misdirected_write_lands_elsewhere_and_never_outside(
    target: Target, lba: int, shift: int, where: int
) -> None:
    _, victim = pair(target)
    target.faults.inject("misdirected", VICTIM, parameters={"shift": shift})
    data = pattern(b"m", 2)
    assert put(victim, lba, data) == GOOD
    everything = bytearray(BLOCKS * 512)
    everything[where * 512 : where * 512 + 1024] = data
    assert medium(target, 0, BLOCKS) == bytes(everything)
    assert last_write(target).placed == (Placed(0, where, 1024, digest(data)),)
    assert last_write(target).lba == lba


def bits_different(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


@pytest.mark.parametrize("bits", [1, 7])
def test_bits_flip_on_the_way_to_the_medium(target: Target, bits: int) -> None:
    _, victim = pair(target)
    target.faults.inject("flip", VICTIM._replace(directions=directions("write")), parameters={"bits": bits, "seed": 3})
    data = pattern(b"f", 4)
    assert put(victim, 0, data) == GOOD
    found = medium(target, 0, 4)
    assert bits_different(found, data) == bits
    assert get(victim, 0, 4) == found
    assert last_write(target).placed == (Placed(0, 0, 2048, digest(found)),)
    assert last_write(target).digest == digest(data)


def test_bits_flip_on_the_way_from_the_medium_which_keeps_them(target: Target) -> None:
    _, victim = pair(target)
    data = pattern(b"f", 4)
    put(victim, 0, data)
    target.faults.inject("flip", VICTIM._replace(directions=directions("read")), 1, parameters={"bits": 2})
    found = get(victim, 0, 4)
    assert bits_different(found, data) == 2
    assert entries(target)[-1].digest == digest(found)
    assert get(victim, 0, 4) == data == medium(target, 0, 4)
    assert entries(target)[-1].digest == digest(data)


def test_the_same_seed_flips_the_same_bits(tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate((5, 5, 6)):
        (tmp_path / str(number)).mkdir()
        target = make_target(tmp_path / str(number))
        _, victim = pair(target)
        target.faults.inject("flip", VICTIM, parameters={"seed": seed})
        put(victim, 0, OLD)
        found.append(disk(target))
        target.units[0].medium.close()
    assert found[0] == found[1] != found[2]


def test_a_stale_read_sees_the_blocks_as_they_were_at_injection(target: Target) -> None:
    master, victim = pair(target)
    first, second = pattern(b"1", 6), pattern(b"2", 6)
    put(master, 10, first)
    fault = target.faults.inject("stale", VICTIM)
    put(master, 12, second)
    put(victim, 13, second[:512])
    assert get(victim, 10, 6) == first
    assert get(master, 10, 6) == medium(target, 10, 6) != first
    assert entries(target)[-2].digest == digest(first)
    target.faults.heal(fault.number)
    assert get(victim, 10, 6) == medium(target, 10, 6)
    assert not target.units[0].observed


def test_the_last_command_of_a_stale_fault_is_still_stale(target: Target) -> None:
    master, victim = pair(target)
    target.faults.inject("stale", VICTIM, 1)
    put(master, 0, NEW)
    assert get(victim, 0, 1) == OLD
    assert get(victim, 0, 1) == NEW


def test_two_stale_faults_see_two_moments(target: Target) -> None:
    master, victim = pair(target)
    early = target.faults.inject("stale", VICTIM)
    put(master, 0, b"1" * 512)
    target.faults.inject("stale", Selection(initiator="iqn.test:master"))
    put(master, 0, b"2" * 512)
    assert (get(victim, 0, 1), get(master, 0, 1)) == (OLD, b"1" * 512)
    target.faults.heal(early.number)
    assert (get(victim, 0, 1), get(master, 0, 1)) == (b"2" * 512, b"1" * 512)


@pytest.mark.parametrize("name", ["lost", "torn"])
def test_every_operation_that_writes_is_struck(target: Target, name: str) -> None:
    """WRITE SAME, UNMAP, ORWRITE, COMPARE AND WRITE, WRITE AND VERIFY go the same way to the medium."""
    _, victim = pair(target)
    put(victim, 0, pattern(b"o", 8))
    before = medium(target, 0, 8)
    parameters = {"sectors": 0} if name == "torn" else {}
    target.faults.inject(name, VICTIM, parameters=parameters)
    unmap = struct.pack(">HH4xQI4x", 22, 16, 0, 8)
    commands = [
        (struct.pack(">BBIxHx", 0x41, 0, 0, 8), NEW),  # WRITE SAME (10)
        (struct.pack(">BBIxHx", 0x42, 0, 0, len(unmap)), unmap),
        (struct.pack(">BBQIxx", 0x8B, 0, 0, 1), b"\xff" * 512),  # ORWRITE
        (struct.pack(">BBQxxxBxx", 0x89, 0, 0, 1), before[:512] + NEW),  # COMPARE AND WRITE
        (struct.pack(">BBQIxx", 0x8A, 0, 0, 1), NEW),
    ]
    for cdb, data in commands:
        assert status(victim.command(cdb, data, edtl=len(data), flags=F | W)) == GOOD
        assert medium(target, 0, 8) == before
        assert last_write(target).placed == ()
    verify = struct.pack(">BBIxHx", 0x2E, 0x02, 0, 1)  # WRITE AND VERIFY with BYTCHK finds out
    assert status(victim.command(verify, NEW, edtl=512, flags=F | W)) == CHECK


def test_a_write_that_is_torn_and_reset_is_what_a_power_failure_of_a_node_leaves(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("torn", VICTIM, 1, parameters={"sectors": 1})
    target.faults.inject("reset", VICTIM, 1, parameters={"when": "after"})
    assert victim.command(write_10(0, 2), NEW * 2, edtl=1024, flags=F | W) == []
    assert medium(target, 0, 2) == NEW + OLD
    timers = target.faults.timers
    assert isinstance(timers, ManualTimers)
    timers.advance(0)
    assert victim.dropped
    assert (last_write(target).status, last_write(target).placed) == (
        Status.TASK_ABORTED, (Placed(0, 0, 512, digest(NEW)),),
    )  # fmt: skip


def test_a_command_of_many_pieces_is_torn_once(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("torn", VICTIM, parameters={"sectors": 2050})
    same = struct.pack(">BBIxHx", 0x41, 0, 0, 6144)
    assert status(victim.command(same, NEW, edtl=512, flags=F | W)) == GOOD
    assert medium(target, 0, 6144) == NEW * 2050 + OLD * (6144 - 2050)


# -- the volatile cache ----------------------------------------------------------------------------------------------


def lose_power(target: Target, *nodes: Initiator) -> int:
    return target.lose_power([node.nexus for node in nodes])


def test_a_node_that_loses_power_loses_what_it_wrote_after_the_last_flush(target: Target) -> None:
    master, victim = pair(target)
    put(victim, 0, b"0" * 512)
    target.faults.inject("volatile-cache", Selection())
    put(victim, 1, b"1" * 512)
    assert status(master.command(SYNC)) == GOOD  # whoever flushes
    put(victim, 2, b"2" * 512)
    put(victim, 3, b"3" * 512, FUA)
    put(master, 4, b"4" * 512)
    assert get(master, 0, 5) == b"".join(bytes((letter,)) * 512 for letter in b"01234")
    assert lose_power(target, victim) == 1
    assert get(master, 0, 5) == b"".join(letter * 512 for letter in (b"0", b"1", b"\0", b"3", b"4"))
    records = list(read_all(target.ledger.path)) if target.ledger else []
    [lost] = [record for record in records if isinstance(record, PowerLost)]
    assert lost.nexus.initiator == "iqn.test:victim"
    assert [record.piece for record in records if isinstance(record, Reverted)] == [Placed(0, 2, 512, digest(OLD))]
    assert lose_power(target, victim) == 0


def test_what_another_node_wrote_over_it_stays(target: Target) -> None:
    master, victim = pair(target)
    target.faults.inject("volatile-cache", Selection())
    put(victim, 0, b"v" * 512)
    put(master, 0, b"m" * 512)
    put(victim, 1, b"v" * 512)
    put(victim, 1, b"w" * 512)
    assert lose_power(target, victim) == 1
    assert (disk(target, 0), disk(target, 1)) == (b"m" * 512, OLD)
    assert lose_power(target, master) == 1
    assert disk(target, 0) == OLD


def test_a_random_part_survives_block_by_block_and_the_seed_decides_which(tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate((1, 1, 2)):
        (tmp_path / str(number)).mkdir()
        target = make_target(tmp_path / str(number))
        _, victim = pair(target)
        target.faults.inject("volatile-cache", Selection(), parameters={"lose": "random", "seed": seed})
        put(victim, 0, NEW * 64)
        lost = lose_power(target, victim)
        image = medium(target, 0, 64)
        assert 10 < lost == sum(image[block * 512 : block * 512 + 512] == OLD for block in range(64)) < 54
        assert lose_power(target, victim) == 0  # what survived once is safe
        found.append(image)
        target.units[0].medium.close()
    assert found[0] == found[1] != found[2]


def test_a_healed_cache_has_everything_on_the_medium(target: Target) -> None:
    _, victim = pair(target)
    fault = target.faults.inject("volatile-cache", Selection())
    put(victim, 0, NEW)
    with pytest.raises(UsageError, match="volatile-cache is injected already"):
        target.faults.inject("volatile-cache", Selection())
    target.faults.heal(fault.number)
    assert lose_power(target, victim) == 0
    assert disk(target) == NEW


def test_a_lost_flush_flushes_nothing(target: Target) -> None:
    _, victim = pair(target)
    target.faults.inject("volatile-cache", Selection())
    target.faults.inject("lost", VICTIM._replace(directions=directions("flush")), 1)
    put(victim, 0, NEW)
    assert status(victim.command(SYNC)) == GOOD
    assert entries(target)[-1].faults == (2,)
    assert lose_power(target, victim) == 1
    assert disk(target) == OLD
    put(victim, 0, NEW)
    assert status(victim.command(SYNC)) == GOOD
    assert lose_power(target, victim) == 0


def test_unmapped_blocks_come_back_too(target: Target) -> None:
    _, victim = pair(target)
    put(victim, 0, pattern(b"o", 8))
    target.faults.inject("volatile-cache", Selection())
    unmap = struct.pack(">HH4xQI4x", 22, 16, 0, 8)
    cdb = struct.pack(">BBIxHx", 0x42, 0, 0, len(unmap))
    assert status(victim.command(cdb, unmap, edtl=len(unmap), flags=F | W)) == GOOD
    assert medium(target, 0, 8) == bytes(4096)
    assert lose_power(target, victim) == 8
    assert medium(target, 0, 8) == pattern(b"o", 8)


def test_only_the_nodes_that_a_cache_is_for_lose_anything(target: Target) -> None:
    master, victim = pair(target)
    target.faults.inject("volatile-cache", VICTIM)
    put(master, 0, NEW)
    put(victim, 1, NEW)
    assert lose_power(target, master, victim) == 1
    assert (disk(target, 0), disk(target, 1)) == (NEW, OLD)
