"""A short campaign of the fuzzer, and that a target which is broken on purpose does not get through one.

The long one is ``./run nightly``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hil.scsi.command import Command
from hil.scsi.sense import Status
from tests.fuzz.campaign import Case, run_campaign, run_case
from tests.fuzz.virtual_loop import VirtualLoop
from tests.fuzz.world import Place
from tests.fuzz.wrong import Wrong

PDUS = 20_000


def test_nothing_that_an_initiator_sends_crashes_the_target_or_gets_past_its_limits(tmp_path: Path) -> None:
    tally = run_campaign(tmp_path, 1, PDUS, case_pdus=500)
    assert tally.pdus >= PDUS
    # It gets far: commands that succeed, that are refused, that conflict with a reservation.
    for status in (Status.GOOD, Status.CHECK_CONDITION, Status.RESERVATION_CONFLICT):
        assert tally.statuses[status] > PDUS // 100, tally


def test_the_same_seed_makes_the_same_case(tmp_path: Path) -> None:
    loop, place = VirtualLoop(), Place.within(tmp_path)
    assert run_case(loop, place, Case(7)) == run_case(loop, place, Case(7)) != run_case(loop, place, Case(8))
    loop.close()


def any_extent(unit: object, command: Command, lba: int, blocks: int) -> None:
    """Refuses none."""
    command.lba, command.blocks = lba, blocks


def forget(self: object, *about: object) -> None:
    """Does nothing of what it should."""


def lose(self: object, lba: int, data: bytes) -> int:
    """Says that it was written."""
    return len(data)


def never_end(self: object) -> None:
    while True:
        pass


BROKEN = [
    ("hil.scsi.extent.check", any_extent, "behind the unit has changed|int too large|bytes count as asked for"),
    ("hil.scsi.ledger.Ledger.flush", forget, "not yet in the ledger"),
    ("hil.scsi.target.Target.detach", forget, "left behind"),
    ("hil.scsi.faults.table.FaultTable.let_go", forget, "held"),
    ("hil.scsi.medium.Medium.write", lose, "does not read as it was written"),
    ("hil.scsi.medium.Medium.flush", never_end, "more than 0.5 s of processor time"),
]


@pytest.mark.parametrize(("what", "instead", "found"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_target_that_is_broken_on_purpose_is_found_out_and_the_failure_says_how_to_repeat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, instead: Any, found: str
) -> None:
    monkeypatch.setattr(what, instead)
    monkeypatch.setattr("tests.fuzz.world.STEP_CPU_S", 0.5)
    with pytest.raises((Wrong, OverflowError), match=found) as first:
        run_campaign(tmp_path, 1, 10 * PDUS)  # ends with the first finding
    [note] = first.value.__notes__
    command = re.search(r"to repeat it: \.venv/bin/python -m tests\.fuzz --seed (\d+) --pdus (\d+)$", note)
    assert command
    with pytest.raises((Wrong, OverflowError), match=found):
        run_campaign(tmp_path, int(command[1]), int(command[2]), case_pdus=int(command[2]))
