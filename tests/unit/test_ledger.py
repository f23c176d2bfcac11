"""The ledger: every command, in order, readable while it is written and after it was cut short."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import UsageError
from hil.scsi.command import DONE, Command, Nexus, Outcome
from hil.scsi.digest import digest
from hil.scsi.ledger import (
    RECORD_BYTES,
    Entry,
    Ledger,
    LedgerLost,
    NexusName,
    NotALedger,
    read_all,
    read_ledger,
    read_nexuses,
    status_name,
)
from hil.scsi.ledger_reader import Follower
from hil.scsi.ledger_records import Record
from hil.scsi.sense import LBA_OUT_OF_RANGE, Status, fixed
from tests.unit.scsi_initiator import read_10, write_10


def record(
    ledger: Ledger, cdb: bytes, data: bytes = b"", outcome: Outcome = DONE, initiator: str = "iqn.test:a"
) -> None:
    nexus = Nexus(ledger.nexus(initiator, "h:1"), initiator, "h:1")
    command = Command(nexus, 0, cdb, data, 1000)
    command.lba, command.blocks, command.changed = 5, 2, bool(data)
    ledger.record(nexus, command, outcome)


def test_an_entry_says_who_did_what_when_and_how_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    record(ledger, write_10(5, 2), b"x" * 1024)
    record(ledger, read_10(5, 2), outcome=Outcome(Status.CHECK_CONDITION, sense=fixed(LBA_OUT_OF_RANGE)))
    ledger.close()
    write, read = read_ledger(path)
    assert (write.order, write.name, write.lba, write.blocks, write.changed, write.writes) == (
        0, "WRITE (10)", 5, 2, True, True,
    )  # fmt: skip
    assert write.digest == digest(b"x" * 1024)
    assert (write.arrival_ns, write.nexus.initiator, write.nexus.portal) == (1000, "iqn.test:a", "h:1")
    assert write.completion_ns >= write.arrival_ns
    assert (read.order, read.status, read.sense, read.digest) == (1, 2, LBA_OUT_OF_RANGE, bytes(16))
    assert not read.changed
    assert status_name(read.status) == "CHECK CONDITION"


def test_a_command_takes_at_most_100_bytes(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    record(ledger, read_10(0, 1))
    ledger.flush()
    before = path.stat().st_size
    for _ in range(100):
        record(ledger, read_10(0, 1))
    ledger.close()
    assert path.stat().st_size - before == 100 * RECORD_BYTES <= 100 * 100


def test_what_was_flushed_can_be_read_while_the_ledger_is_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    assert list(read_ledger(path)) == []
    record(ledger, read_10(0, 1))
    assert list(read_ledger(path)) == []
    ledger.flush()
    assert [entry.order for entry in read_ledger(path)] == [0]
    ledger.close()


@given(st.integers(64, 1000), st.text(min_size=1, max_size=250))
def test_a_file_cut_anywhere_gives_the_whole_records_before_the_cut(
    tmp_path_factory: pytest.TempPathFactory, cut: int, name: str
) -> None:
    path = tmp_path_factory.mktemp("cut") / "ledger"
    ledger = Ledger(path)
    for initiator in ("iqn.test:a", name.replace("\0", "-"), "iqn.test:a"):
        record(ledger, read_10(0, 1), initiator=initiator)
    ledger.close()
    whole = list(read_ledger(path))
    content = path.read_bytes()
    kept = min(cut, len(content))
    path.write_bytes(content[:kept])
    found = list(read_ledger(path))
    assert found == whole[: len(found)]
    if kept == len(content):
        assert len(found) == 3
    with_more = Ledger(path)
    record(with_more, read_10(0, 1))
    with_more.close()
    assert [entry.order for entry in read_ledger(path)] == list(range(len(found) + 1))


def test_a_follower_reads_what_has_come_since_and_a_record_in_pieces_when_it_is_whole(tmp_path: Path) -> None:
    path, growing = tmp_path / "ledger", tmp_path / "growing"
    ledger = Ledger(path)
    for lba in range(7):
        record(ledger, write_10(lba, 1), b"x" * 512)
    ledger.close()
    data = path.read_bytes()
    growing.write_bytes(data[:100])
    followed: list[Record] = []
    with growing.open("rb") as file:
        follower = Follower(file, str(growing))
        for end in range(100, len(data) + 37, 37):
            growing.write_bytes(data[:end])
            followed += [found for _, found in follower.more()]
            assert followed == list(read_all(growing))
        assert list(follower.more()) == []
    assert followed == list(read_all(path))


def test_a_restarted_target_goes_on_with_numbers_and_nexuses(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    for _ in range(2):
        ledger = Ledger(path)
        record(ledger, read_10(0, 1), initiator="iqn.test:b")
        record(ledger, read_10(0, 1))
        ledger.close()
    entries: list[Entry] = list(read_ledger(path))
    assert [entry.order for entry in entries] == [0, 1, 2, 3]
    assert [entry.nexus.number for entry in entries] == [0, 1, 0, 1]
    assert [nexus.initiator for nexus in read_nexuses(path)] == ["iqn.test:b", "iqn.test:a"]


def test_many_records_are_read_across_the_readers_pieces(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    for _ in range(5000):
        record(ledger, read_10(0, 1))
    ledger.close()
    assert [entry.order for entry in read_ledger(path)] == list(range(5000))


def test_a_ledger_in_use_is_refused_by_name(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with pytest.raises(UsageError, match="is in use by another target"):
        Ledger(tmp_path / "ledger")
    ledger.close()


def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    for content in (b"short", b"x" * 200, b"HILLEDGR" + b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"is not a ledger|is a ledger of version"):
            Ledger(path)
        with pytest.raises(NotALedger):
            list(read_ledger(path))
        assert path.read_bytes() == content


def test_a_full_disk_is_an_error_of_its_own() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full is missing")
    ledger = Ledger.__new__(Ledger)
    with full.open("wb", buffering=0) as file:
        ledger.path, ledger._fd, ledger._waiting, ledger._data = "full", file.fileno(), [b"x"], None
        with pytest.raises(LedgerLost, match="No space left"):
            ledger.flush()


def test_the_end_of_a_registration_by_a_command_that_is_not_there_is_dropped_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    record(ledger, read_10(0, 1))
    by = Nexus(0, "iqn.test:a", "h:1")
    ledger.registration_ended(("iqn.test:a", "h:1"), 0, 0x11, by)
    record(ledger, b"\x5f\x05")
    ledger.close()
    os.truncate(path, path.stat().st_size - RECORD_BYTES)
    ledger = Ledger(path)
    record(ledger, write_10(5, 2))
    ledger.close()
    assert [type(found) for found in read_all(path)] == [NexusName, Entry, Entry]
