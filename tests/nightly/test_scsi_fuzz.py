"""The SCSI target against a million PDUs, against one long case, and against cases that are led by coverage.

``HIL_FUZZ_PDUS`` (1000000) is how many; the long case is a tenth of it, those led by coverage are one for a hundred.
``HIL_FUZZ_SEED`` is where to begin (somewhere else each time).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.campaign import run_campaign

TREE = Path(__file__).resolve().parents[2]
PDUS = int(os.environ.get("HIL_FUZZ_PDUS") or 1_000_000)
SEED = int(os.environ.get("HIL_FUZZ_SEED") or random.SystemRandom().randrange(10**9))
PROGRESS_S = 30.0

# A step that hangs is found by its processor time; this is for a machine that is slow beyond all measure.
pytestmark = pytest.mark.timeout(1800 + PDUS // 100)

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", flush=True)

    return say


def test_nothing_that_an_initiator_sends_crashes_the_target_or_gets_past_its_limits(tmp_path: Path, say: Say) -> None:
    say(f"HIL_FUZZ_PDUS={PDUS} HIL_FUZZ_SEED={SEED} ./run nightly -k fuzz")
    tally = run_campaign(tmp_path, SEED, PDUS, say=say)
    assert tally.pdus >= PDUS


def test_a_target_that_serves_for_long_stays_as_small_as_it_was(tmp_path: Path, say: Say) -> None:
    pdus = max(PDUS // 10, 1000)
    tally = run_campaign(tmp_path, SEED, pdus, case_pdus=pdus, say=say)
    assert tally.cases == 1


def test_cases_that_are_led_to_new_code_find_nothing_either(tmp_path: Path, say: Say) -> None:
    runs = max(PDUS // 100, 100)
    command = [sys.executable, "-m", "tests.fuzz.guided", f"-runs={runs}", f"-seed={SEED % 2**31 + 1}"]
    log = tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen(command, cwd=TREE, stdout=file, stderr=file) as fuzzer:
        while fuzzer.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                fuzzer.wait(PROGRESS_S)
            say(last_state(log))
    said = log.read_text(encoding="utf-8", errors="replace")
    kept = re.search(r"Test unit written to (\S+)", said)
    assert fuzzer.returncode == 0, (
        f"{said[-8000:]}\nto repeat it: .venv/bin/python -m tests.fuzz.guided {kept[1] if kept else ''}"
    )


def last_state(log: Path) -> str:
    """The fuzzer's own words: how many cases, how much code, how many that it keeps."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in reversed(lines) if re.match(r"#\d", line)), "the fuzzer begins")
