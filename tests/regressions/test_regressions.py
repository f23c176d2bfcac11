"""Every bug that the simulator has found: its shortened run passes now, and fails when the bug is put back.

Each file beside this one is such a run, a scenario that also says what the bug was and at which commit it was found.
``PANICS`` in it is how many lives end: where that is what was wrong, no other claim need be broken.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from hil.play import ONLY_SIMULATED
from hil.sim.case import Case, read
from hil.sim.run import Result
from tests.regressions.bugs import BUGS, Bug

HERE = Path(__file__).parent

each_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.file)


def file(bug: Bug) -> Path:
    return HERE / f"{bug.file}.py"


def case(bug: Bug) -> Case:
    return read(file(bug))


def holds(bug: Bug, result: Result) -> bool:
    """Whether all is as it must be."""
    panics: int = runpy.run_path(str(file(bug)))["PANICS"]
    return result.passed and result.panics == panics


@each_bug
def test_it_is_gone(bug: Bug) -> None:  # S2.6, S3.2, S5.2, S6.1
    result = case(bug).run()
    assert holds(bug, result), [result.claim, result.violation, result.panics]


@each_bug
def test_with_the_bug_put_back_it_fails(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.put_back(monkeypatch)
    assert not holds(bug, case(bug).run())


@each_bug
def test_the_run_is_no_longer_than_it_takes(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of its faults the bug makes no difference."""
    whole = case(bug)
    for index in range(len(whole.plan.faults)):
        left = whole.with_faults(whole.plan.faults[:index] + whole.plan.faults[index + 1 :])
        healthy = left.run()
        bug.put_back(monkeypatch)
        ill = left.run()
        monkeypatch.undo()
        assert (ill.claim, ill.panics) == (healthy.claim, healthy.panics), left.plan.faults


def test_every_run_of_this_directory_is_one_of_a_bug_that_can_be_put_back() -> None:
    runs = {path.stem for path in HERE.glob("*.py")} - {"bugs"} - {path.stem for path in HERE.glob("test_*")}
    assert runs == {bug.file for bug in BUGS}


@each_bug
def test_it_says_where_the_bug_was_found_and_what_guests_cannot_play(bug: Bug) -> None:
    text = file(bug).read_text(encoding="utf-8")
    assert re.search(r"^Found at [0-9a-f]{7}, fixed in [0-9a-f]{7}\.$", text, re.MULTILINE)
    assert ("@pytest.mark.simulation(" in text) == any(name.endswith("_share") for name in changed_options(bug))
    kinds = {fault.kind for fault in case(bug).plan.faults}
    assert kinds.isdisjoint(ONLY_SIMULATED) or "only the simulator can" in text


def changed_options(bug: Bug) -> list[str]:
    """Of the simulation."""
    return list(runpy.run_path(str(file(bug)))["SIMULATED"])
