"""The tables of docs/election.md are what the program prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model import cases, omissions

ROOT = Path(__file__).parents[2]
ALL_SEARCHES_S = 600  # alone in its process, with a busy machine; else the searches have been made already
PAGE = (ROOT / "docs" / "election.md").read_text(encoding="utf-8")


@pytest.mark.timeout(ALL_SEARCHES_S)
def test_the_page_has_the_states_and_traces_that_were_explored() -> None:
    assert cases.table() in PAGE, "run: .venv/bin/python -m tests.model"


@pytest.mark.timeout(ALL_SEARCHES_S)
def test_the_page_has_every_counter_example() -> None:
    assert omissions.table() in PAGE, "run: .venv/bin/python -m tests.model"


@pytest.mark.parametrize("name", ["HIL_MODEL=deep", "--traces"])
def test_the_page_says_how_to_see_more(name: str) -> None:
    assert name in PAGE


def test_the_number_of_states_does_not_depend_on_the_order_of_a_set() -> None:
    code = "from tests.model import cases; print(cases.examined(cases.DEFAULT[4]))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {f"{cases.examined(cases.DEFAULT[4])}\n"}
