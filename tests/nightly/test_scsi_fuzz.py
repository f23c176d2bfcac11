"""A million PDUs: HIL_FUZZ_PDUS says how many, HIL_FUZZ_SEED where to begin (docs/scsi-target.md)."""

from __future__ import annotations

import os
from pathlib import Path

from tests.fuzz.campaign import run_campaign

PDUS = int(os.environ.get("HIL_FUZZ_PDUS", "1000000"))
SEED = int(os.environ.get("HIL_FUZZ_SEED", "1"))


def test_nothing_that_an_initiator_sends_crashes_the_target_or_gets_past_its_limits(tmp_path: Path) -> None:
    tally = run_campaign(tmp_path, SEED, PDUS)
    assert tally.pdus >= PDUS
