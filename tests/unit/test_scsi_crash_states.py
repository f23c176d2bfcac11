"""Kept data and crash states: every one is a state that flushes allow, and the medium is what the record says."""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.errors import UsageError
from hil.scsi.crash_states import CrashStates, Unflushed
from hil.scsi.faults.selection import Selection, directions
from hil.scsi.found_data import take_down_found
from hil.scsi.kept_data import KeptData, NotKeptData, base_path, read_frames
from hil.scsi.ledger import Ledger, read_all
from hil.scsi.ledger_records import Found, Reverted
from hil.scsi.medium import Medium
from hil.scsi.target import Target
from tests.unit.scsi_fence import F, R, W, status
from tests.unit.scsi_initiator import SERIAL, Initiator, write_10
from tests.unit.scsi_reserve import GOOD
from tests.unit.scsi_timers import ManualTimers

BLOCKS = 256
SYNC = bytes.fromhex("35000000000000000000")
FUA = 0x08


class Disk:
    """One LUN that had something on it before anybody began to record, with ledger and kept data."""

    def __init__(self, directory: Path, ledger: str = "ledger", data: str = "data") -> None:
        self.path, self.ledger, self.data = directory / "disk.raw", directory / ledger, directory / data
        if not self.path.exists():
            self.path.write_bytes(b"b" * 512)
            os.truncate(self.path, BLOCKS * 512)
        self.begin()

    def begin(self) -> None:
        kept = KeptData(self.data)
        kept.keep_base(0, str(self.path))
        self.target = Target(ledger=Ledger(self.ledger, kept))
        self.target.add_unit(0, Medium(str(self.path)), SERIAL)
        self.node = Initiator(self.target)

    def end(self) -> None:
        assert self.target.ledger is not None
        self.target.ledger.close()
        self.target.units[0].medium.close()

    def write(self, lba: int, letter: bytes, blocks: int = 1, flags: int = 0) -> int:
        data = letter * 512 * blocks
        return status(self.node.command(write_10(lba, blocks, flags), data, edtl=len(data), flags=F | W))

    def flush(self) -> None:
        assert status(self.node.command(SYNC)) == GOOD

    def states(self) -> CrashStates:
        assert self.target.ledger is not None
        if self.target.ledger._fd >= 0:
            self.target.ledger.flush()
        return CrashStates(self.ledger, self.data)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    found = Disk(tmp_path)
    yield found
    found.end()


def letters(data: bytes) -> str:
    """A letter per block that is all of one; the blocks before were zeros."""
    blocks = [data[start : start + 512] for start in range(0, len(data), 512)]
    assert all(len(set(block)) == 1 for block in blocks)
    return "".join("." if block[0] == 0 else chr(block[0]) for block in blocks)


def test_what_was_flushed_is_there_and_the_rest_is_lost_or_kept(disk: Disk) -> None:
    disk.write(1, b"1")  # 0
    disk.flush()  # 1
    disk.write(1, b"2")  # 2
    disk.write(2, b"3", flags=FUA)  # 3
    disk.write(3, b"4")  # 4
    disk.write(2, b"5")  # 5
    seen = {}
    with disk.states() as states:
        for state in states:
            seen[state.order] = (
                letters(state.read(0, 4)), letters(state.read(0, 4, Unflushed.KEPT)), state.unflushed_blocks,
            )  # fmt: skip
    assert seen == {
        0: ("b...", "b1..", 1),
        1: ("b1..", "b1..", 0),
        2: ("b1..", "b2..", 1),
        3: ("b13.", "b23.", 1),
        4: ("b13.", "b234", 2),
        5: ("b13.", "b254", 3),
    }


def test_a_random_part_is_one_version_of_each_block_and_depends_on_the_seed_alone(disk: Disk) -> None:
    disk.write(0, b"1", 64)
    disk.write(0, b"2", 64)
    with disk.states() as states:
        state = states.at(1)
        found = [letters(state.read(0, 64, Unflushed.RANDOM, seed)) for seed in range(3)]
        assert [letters(state.read(block, 1, Unflushed.RANDOM, 1)) for block in range(64)] == list(found[1])
    assert len(set(found)) == 3
    for image in found:
        assert set(image[1:]) == {".", "1", "2"}
        assert image[0] in "b12"


def test_a_state_is_written_out_as_a_disk(disk: Disk, tmp_path: Path) -> None:
    disk.write(1, b"1")
    disk.write(2, b"2", flags=FUA)
    out = tmp_path / "out.raw"
    with disk.states() as states:
        state = states.at(1)
        for unflushed in Unflushed:
            state.write_to(out, unflushed, 4)
            assert out.read_bytes() == state.read(0, BLOCKS, unflushed, 4)
            assert out.stat().st_blocks * 512 < BLOCKS * 512
    with disk.states() as states, pytest.raises(UsageError, match="command 7 is not in the ledger: 0 to 1 are"):
        states.at(7)


def test_write_same_and_unmap_and_write_and_verify_are_told_apart(disk: Disk) -> None:
    """The bit that is FUA in a WRITE is UNMAP in a WRITE SAME, and WRITE AND VERIFY is on the medium when it ends."""
    same = struct.pack(">BBIxHx", 0x41, 0x08, 0, 4)
    assert status(disk.node.command(same, b"s" * 512, edtl=512, flags=F | W)) == GOOD
    unmap = struct.pack(">HH4xQI4x", 22, 16, 1, 1)
    cdb = struct.pack(">BBIxHx", 0x42, 0, 0, len(unmap))
    assert status(disk.node.command(cdb, unmap, edtl=len(unmap), flags=F | W)) == GOOD
    verify = struct.pack(">BBIxHx", 0x2E, 0, 2, 1)
    assert status(disk.node.command(verify, b"v" * 512, edtl=512, flags=F | W)) == GOOD
    with disk.states() as states:
        assert [(letters(s.read(0, 5)), letters(s.read(0, 5, Unflushed.KEPT))) for s in states] == [
            ("b....", "ssss."),
            ("b....", "s.ss."),
            ("b.v..", "s.vs."),
        ]


def test_faults_count_as_what_they_did(disk: Disk) -> None:
    faults = disk.target.faults
    faults.inject("misdirected", Selection(), 1, parameters={"shift": 2})
    disk.write(1, b"m", flags=FUA)
    faults.inject("lost", Selection(directions=directions("flush")), 1)
    disk.write(1, b"1")
    disk.flush()  # a lie
    with disk.states() as states:
        assert [letters(s.read(0, 4)) for s in states] == ["b..m", "b..m", "b..m"]
    disk.flush()
    with disk.states() as states:
        assert letters(states.at(3).read(0, 4)) == "b1.m"


def test_what_a_node_lost_in_a_power_failure_is_gone_from_the_states_after_it(disk: Disk) -> None:
    disk.target.faults.inject("volatile-cache", Selection())
    disk.write(1, b"1")
    disk.write(2, b"2")
    assert disk.target.lose_power([disk.node.nexus]) == 2
    disk.write(3, b"3")
    with disk.states() as states:
        assert [letters(s.read(0, 4, Unflushed.KEPT)) for s in states] == ["b1..", "b12.", "b..3"]


def test_the_record_goes_on_after_a_restart(disk: Disk) -> None:
    disk.write(1, b"1")
    disk.end()
    disk.begin()
    disk.write(2, b"2")
    with disk.states() as states:
        assert [letters(s.read(0, 3, Unflushed.KEPT)) for s in states] == ["b1.", "b12"]


def test_base_and_frames_together_are_the_medium_whatever_was_done(disk: Disk) -> None:
    rng = random.Random(1)
    kinds = ["lost", "torn", "misdirected", "flip", None, None]
    for step in range(300):
        kind = rng.choice(kinds)
        if kind is not None:
            disk.target.faults.inject(kind, Selection(), 1)
        disk.write(rng.randrange(200), bytes((step % 255 + 1,)), rng.randrange(1, 9), rng.choice((0, FUA)))
        if rng.random() < 0.1:
            disk.flush()
    with disk.states() as states:
        for last in states:  # noqa: B007
            pass
        assert last.read(0, BLOCKS, Unflushed.KEPT) == disk.path.read_bytes()
    with Medium(base_path(disk.data, 0)) as base:
        assert base.read(0, 1) == b"b" * 512


@pytest.mark.parametrize("cut", range(1, 545, 37))
def test_a_last_frame_that_is_cut_short_is_not_there_and_is_replaced(disk: Disk, cut: int) -> None:
    disk.write(1, b"1")
    disk.write(2, b"2")
    disk.end()
    whole = disk.data.read_bytes()
    disk.data.write_bytes(whole[:-cut])
    assert [frame.order for frame in read_frames(disk.data)] == [0]
    disk.begin()
    disk.write(3, b"3")
    assert disk.target.ledger is not None
    disk.target.ledger.flush()
    assert [(frame.order, frame.piece.lba) for frame in read_frames(disk.data)] == [(0, 1), (2, 3)]


def test_files_that_are_something_else_or_missing_are_refused_by_name(disk: Disk, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x" * 100)
    with pytest.raises(UsageError, match="other is no kept data"):
        KeptData(other)
    assert other.read_bytes() == b"x" * 100
    with pytest.raises(NotKeptData, match="other is no kept data"):
        list(read_frames(other))
    with pytest.raises(UsageError, match=r"nowhere is missing: run with kept data"):
        CrashStates(disk.ledger, tmp_path / "nowhere")
    with pytest.raises(UsageError, match="cannot be opened for writing: No such file"):
        KeptData(tmp_path / "no" / "where")
    kept = KeptData(disk.data)
    Path(base_path(disk.data, 0)).unlink()
    with pytest.raises(UsageError, match=r"goes on, but .*base0 is missing: begin with a new file"):
        kept.keep_base(0, str(disk.path))
    kept.close()
    damaged = bytearray(disk.data.read_bytes())
    disk.write(1, b"1")
    assert disk.target.ledger is not None
    disk.target.ledger.flush()
    damaged = bytearray(disk.data.read_bytes())
    damaged[40] ^= 0xFF
    other.write_bytes(damaged)
    with pytest.raises(NotKeptData, match="damaged at offset 40"):
        list(read_frames(other))


def test_a_lost_flush_before_a_restart_says_nothing_about_faults_after_it(disk: Disk) -> None:
    disk.target.faults.inject("lost", Selection(directions=directions("flush")), 1)
    disk.write(1, b"1")
    disk.flush()
    disk.end()
    disk.begin()
    fault = disk.target.faults.inject("hang", Selection(directions=directions("flush")))
    assert disk.node.command(SYNC) == []
    disk.target.faults.heal(fault.number)
    with disk.states() as states:
        assert [letters(state.read(0, 2)) for state in states] == ["b.", "b.", "b1"]


def test_states_of_a_running_target_end_with_what_was_there_when_they_began(disk: Disk) -> None:
    disk.write(0, b"1")
    with disk.states() as states:
        running = iter(states)
        assert next(running).order == 0
        disk.write(1, b"2")
        disk.states()
        assert [state.order for state in running] == []
        assert letters(states.at(1).read(0, 2, Unflushed.KEPT)) == "12"


@pytest.mark.parametrize("lose", ["all", "random"])
def test_states_after_power_losses_are_those_that_the_cache_of_the_target_allows(disk: Disk, lose: str) -> None:
    """Writes of two nodes over each other, flushes, and power losses of either: version for version the same."""
    rng = random.Random(3)
    nodes = [disk.node, Initiator(disk.target, "iqn.2026-11.hil:other")]
    disk.target.faults.inject("volatile-cache", Selection(), parameters={"lose": lose, "seed": 1})
    cache = disk.target.units[0].cache
    assert cache is not None
    seen = {}
    for step in range(200):
        disk.node = rng.choice(nodes)
        disk.write(rng.randrange(12), bytes((step % 255 + 1,)), rng.randrange(1, 4), rng.choice((0, 0, 0, FUA)))
        if step % 20 == 19:
            disk.flush()
        assert disk.target.ledger is not None
        versions = {lba: [version.content for version in found] for lba, found in cache.blocks.items()}
        seen[disk.target.ledger.order_next - 1] = versions
        if rng.random() < 0.2:
            disk.target.lose_power([rng.choice(nodes).nexus])
    with disk.states() as states:
        for state in states:
            if state.order in seen:
                found = state._cache.blocks
                assert {lba: [one.content for one in row] for lba, row in found.items()} == seen[state.order]
    assert any(len(row) > 3 for versions in seen.values() for row in versions.values())


def test_what_was_written_before_there_was_a_cache_survives_a_power_loss(disk: Disk) -> None:
    disk.write(1, b"1")
    disk.target.faults.inject("volatile-cache", Selection())
    disk.write(1, b"2")
    assert disk.target.lose_power([disk.node.nexus]) == 1
    disk.write(2, b"3")
    with disk.states() as states:
        assert [letters(state.read(0, 3)) for state in states] == ["b..", "b..", "b1."]


def test_a_power_loss_that_the_host_cannot_write_is_recorded_as_far_as_it_went(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.target.faults.inject("volatile-cache", Selection())
    for lba in (1, 2, 3):
        disk.write(lba, b"1")
    unit = disk.target.units[0]
    write = unit.medium.write

    def full(lba: int, data: bytes) -> int:
        if lba == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(lba, data)

    monkeypatch.setattr(unit.medium, "write", full)
    with pytest.raises(OSError, match="No space"):
        disk.target.lose_power([disk.node.nexus])
    monkeypatch.undo()
    assert disk.target.lose_power([disk.node.nexus]) == 0
    disk.write(4, b"2")
    assert [found.piece.lba for found in read_all(disk.ledger) if isinstance(found, Reverted)] == [1, 3]
    with disk.states() as states:
        state = states.at(3)
        assert letters(state.read(0, 5)) == "b.1.."
        assert letters(state.read(0, 5, Unflushed.KEPT)) == letters(disk.path.read_bytes()[: 5 * 512]) == "b.1.2"


def test_a_flush_that_was_executed_and_not_answered_counts(disk: Disk) -> None:
    disk.write(1, b"1")
    timers = disk.target.faults.timers = ManualTimers()
    disk.target.faults.inject("reset", Selection(), 1, parameters={"when": "after"})
    assert disk.node.command(SYNC) == []
    timers.advance(0)
    with disk.states() as states:
        assert [state.unflushed_blocks for state in states] == [1, 0]


def test_a_fua_write_that_failed_half_way_flushed_nothing(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = disk.target.units[0]
    write = unit.medium.write
    disk.target.faults.inject("volatile-cache", Selection())
    monkeypatch.setattr(unit.medium, "write", lambda lba, data: write(lba, data[:512]))
    assert disk.write(1, b"1", 2, FUA) != GOOD
    assert unit.cache is not None
    with disk.states() as states:
        assert states.at(0).unflushed_blocks == len(unit.cache.blocks) == 1


@pytest.mark.parametrize(
    ("cdb", "left"),
    [("35000000000200000300", [1, 5]), ("35000000000200000000", [1]), ("28080000000200000200", [1, 4, 5])],
)
def test_an_extent_is_flushed_and_what_is_around_it_is_not(disk: Disk, cdb: str, left: list[int]) -> None:
    """SYNCHRONIZE CACHE of 3 blocks and of all up to the end (SBC-3 5.26), and READ with FUA."""
    disk.target.faults.inject("volatile-cache", Selection())
    disk.write(1, b"1", 5)
    asked = bytes.fromhex(cdb)
    disk.node.command(asked, edtl=1024, flags=F | R)
    cache = disk.target.units[0].cache
    assert cache is not None
    with disk.states() as states:
        assert sorted(states.at(1)._cache.blocks) == sorted(cache.blocks) == left


def test_data_kept_from_the_middle_of_a_ledger_has_states_from_there_on(disk: Disk) -> None:
    disk.write(1, b"1")
    disk.write(1, b"2")
    disk.end()
    disk.data = disk.data.with_name("later")
    disk.begin()
    disk.write(1, b"3")
    with disk.states() as states:
        assert [(state.order, letters(state.read(1, 1))) for state in states] == [(2, "2")]
        with pytest.raises(UsageError, match="command 1 came before the kept data began: from 2 on there are states"):
            states.at(1)


def test_a_power_loss_that_a_kill_kept_out_of_the_ledger_is_found(disk: Disk) -> None:
    disk.target.faults.inject("volatile-cache", Selection())
    disk.write(1, b"1")
    ledger = disk.target.ledger
    assert ledger is not None
    ledger.flush()
    known = disk.ledger.read_bytes()
    disk.target.lose_power([disk.node.nexus])
    disk.end()
    disk.ledger.write_bytes(known)
    disk.begin()
    assert disk.target.ledger is not None
    assert [frame.order for frame in read_frames(disk.data)] == [0]
    take_down_found(disk.target.ledger, str(disk.data), 0, disk.target.units[0].medium)
    assert [found.piece.lba for found in read_all(disk.ledger) if isinstance(found, Found)] == [1]
    disk.end()
    disk.begin()
    assert [(frame.order, frame.found) for frame in read_frames(disk.data)] == [(0, False), (1, True)]
