"""What the end of a target, by a signal or by SIGKILL, leaves in its files, and how the next one goes on with them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from hil.scsi.crash_states import CrashStates, Unflushed
from hil.scsi.digest import digest
from hil.scsi.iscsi import pdu as p
from hil.scsi.kept_data import base_path
from hil.scsi.ledger import RECORD_BYTES, Ledger, read_all, read_ledger
from hil.scsi.ledger_records import FaultHealed, FaultInjected, Found
from hil.scsi.sense import Status
from tests.unit.scsi_initiator import write_10
from tests.unit.scsi_process import running
from tests.unit.test_scsi_command_line import portals, refused
from tests.unit.test_scsi_control import Control, node, send_write, wait_until_held


def test_a_delayed_write_is_in_the_ledger_when_the_target_was_told_to_end(tmp_path: Path) -> None:
    with running(*portals(tmp_path), "--control", f"{tmp_path}/control") as target:
        with Control(tmp_path / "control") as control, node(target, 0) as client:
            control.ask({"fault": "delay-writes"})
            send_write(client)
            wait_until_held(control)
        assert target.end() == (0, "")
    *_, last = read_ledger(tmp_path / "ledger.bin")
    assert (last.name, last.status, last.changed, last.faults) == ("WRITE (10)", Status.TASK_ABORTED, False, (1,))


def numbers_and_ends(path: Path) -> tuple[list[tuple[int, str]], list[tuple[int, int, str]]]:
    records = list(read_all(path))
    injected = [(record.number, record.about["fault"]) for record in records if isinstance(record, FaultInjected)]
    healed = [(record.number, record.struck, record.why) for record in records if isinstance(record, FaultHealed)]
    return injected, healed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_fault_number_is_never_used_twice_and_the_end_of_the_target_ends_its_faults(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "ledger.bin"
    for kinds in (("lost", "stale"), ("torn",)):
        with running(*portals(tmp_path), "--control", f"{tmp_path}/control") as target:
            with Control(tmp_path / "control") as control, node(target, 0) as client:
                for kind in kinds:
                    control.ask({"fault": kind, "direction": "read" if kind == "stale" else "write"})
                client.command(write_10(0, 1), b"x" * 512, edtl=512, flags=p.FINAL | p.WRITE)
                if kinds == ("torn",):
                    control.ask({"heal": 3})
            target.end(number)
    Ledger(path).close()
    injected, healed = numbers_and_ends(path)
    assert injected == [(1, "lost"), (2, "stale"), (3, "torn")]
    assert healed == [(1, 1, "end"), (2, 0, "end"), (3, 1, "asked")]


# -- kept data -------------------------------------------------------------------------------------------------------


class Kept:
    """A target with ledger and kept data, killed; each turn writes one block after the other."""

    def __init__(self, directory: Path) -> None:
        self.disk, self.ledger, self.data = directory / "disk.raw", directory / "ledger.bin", directory / "data.bin"
        self.arguments = (*portals(directory), f"--keep-data={self.data}")

    def write(self, *blocks: tuple[int, bytes]) -> None:
        with running(*self.arguments) as target, node(target, 0) as client:
            for lba, letter in blocks:
                answer, _ = client.command(write_10(lba, 1), letter * 512, edtl=512, flags=p.FINAL | p.WRITE)
                assert isinstance(answer, p.ScsiResponse)
                assert answer.status == Status.GOOD
            assert target.end(signal.SIGKILL)[1] == ""

    def forget(self, records: int) -> None:
        """As if the target had been killed before the last records were in the ledger."""
        os.truncate(self.ledger, self.ledger.stat().st_size - records * RECORD_BYTES)

    def letters(self, blocks: int = 6) -> list[str]:
        """The first blocks as the crash states have them, one after each write that is in the ledger."""
        with CrashStates(self.ledger, self.data) as states:
            found = []
            for state in states:
                if state.entry is not None and state.entry.writes:
                    first = (state.read(lba, 1, Unflushed.KEPT)[0] for lba in range(blocks))
                    found.append("".join(chr(letter or 0x2E) for letter in first))
            assert state.read(0, state.blocks, Unflushed.KEPT) == self.disk.read_bytes()
        return found


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_what_a_killed_target_did_and_did_not_record_is_found_by_the_next(kept: Kept) -> None:
    kept.write((0, b"a"), (1, b"b"), (2, b"c"), (3, b"d"), (4, b"e"))
    kept.forget(3)
    kept.write((5, b"f"), (0, b"g"))
    assert kept.letters() == ["a.....", "ab....", "abcdef", "gbcdef"]
    found = [record for record in read_all(kept.ledger) if isinstance(record, Found)]
    assert [(record.order, record.piece.lba, record.piece.length) for record in found] == [(3, 2, 1536)]
    assert found[0].piece.digest == digest(b"c" * 512 + b"d" * 512 + b"e" * 512)


def test_what_was_written_without_a_trace_is_found(kept: Kept) -> None:
    kept.write((0, b"a"), (1, b"b"))
    with kept.disk.open("r+b") as file:
        file.write(b"x" * 512 + b"b" * 512 + b"y" * 512)
    kept.write((1, b"c"))
    assert kept.letters() == ["a.....", "ab....", "xcy..."]


def test_after_an_orderly_life_nothing_is_found(kept: Kept) -> None:
    for turn in range(3):
        kept.write((turn, b"a"))
    assert kept.letters() == ["a.....", "aa....", "aaa..."]
    assert not [record for record in read_all(kept.ledger) if isinstance(record, Found)]


def test_what_is_found_may_be_lost_in_a_power_failure_and_not_because_the_next_write_was_durable(kept: Kept) -> None:
    kept.write((0, b"a"), (1, b"b"))
    kept.forget(1)
    kept.write((2, b"c"))
    with CrashStates(kept.ledger, kept.data) as states:
        for state in states:  # noqa: B007
            pass
        assert state.unflushed_blocks == 3
        assert state.read(0, 3) == bytes(1536)


def test_a_base_that_was_not_copied_to_its_end_is_copied_again(kept: Kept, tmp_path: Path) -> None:
    kept.disk.write_bytes(b"z" * 1024 * 1024)
    Path(base_path(kept.data, 0)).write_bytes(b"z" * 100)
    kept.data.write_bytes(b"")
    kept.write((0, b"a"))
    assert Path(base_path(kept.data, 0)).read_bytes() == b"z" * 1024 * 1024
    assert kept.letters() == ["azzzzz"]


def test_kept_data_of_another_ledger_is_refused(kept: Kept) -> None:
    kept.write((0, b"a"))
    before = kept.data.read_bytes()
    kept.ledger.unlink()
    assert f"kept data {kept.data} belongs to another ledger than {kept.ledger}" in refused(*kept.arguments)
    assert kept.data.read_bytes() == before
