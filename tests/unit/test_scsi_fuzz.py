"""A short campaign of the fuzzer; the long one is ``./run nightly``."""

from __future__ import annotations

from pathlib import Path

from hil.scsi.sense import Status
from tests.fuzz.campaign import run_campaign

PDUS = 20_000


def test_nothing_that_an_initiator_sends_crashes_the_target_or_gets_past_its_limits(tmp_path: Path) -> None:
    tally = run_campaign(tmp_path, 1, PDUS, case_pdus=500)
    assert tally.pdus >= PDUS
    # It gets far: commands that succeed, that are refused, that conflict with a reservation.
    for status in (Status.GOOD, Status.CHECK_CONDITION, Status.RESERVATION_CONFLICT):
        assert tally.statuses[status] > PDUS // 100, tally
