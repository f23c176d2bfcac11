"""`hil run`: what a scenario's name means, and one exit status out of many verdicts."""

from pathlib import Path

import pytest

from hil import runner
from hil.errors import BenchDied, ClaimFailed, HilError, InvalidRun, PreflightFailed, UnknownScenario
from hil.runner import Collector, Options, exit_status
from hil.verdict import EXIT_STATUS, Verdict, classify, overall


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ClaimFailed("x"), Verdict.CLAIM_FAILED),
        (AssertionError("x"), Verdict.CLAIM_FAILED),
        (PreflightFailed("x"), Verdict.REFUSED),
        (BenchDied("x"), Verdict.LABORATORY_BROKE),
        (InvalidRun("x"), Verdict.INVALID),
        (HilError("x"), Verdict.LABORATORY_BROKE),
        (KeyError("x"), Verdict.LABORATORY_BROKE),
        (pytest.fail.Exception("x"), Verdict.CLAIM_FAILED),
    ],
)
def test_an_exception_stands_for_a_verdict(error: BaseException, verdict: Verdict) -> None:
    assert classify(error) is verdict


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ([], 0),
        ([Verdict.PASSED, Verdict.PASSED], 0),
        ([Verdict.INVALID, Verdict.LABORATORY_BROKE, Verdict.CLAIM_FAILED, Verdict.REFUSED], 1),
        ([Verdict.INVALID, Verdict.LABORATORY_BROKE, Verdict.REFUSED], 3),
        ([Verdict.INVALID, Verdict.REFUSED], 4),
        ([Verdict.REFUSED], 2),
    ],
)
def test_a_failed_claim_is_knowledge_and_the_others_the_lack_of_it(verdicts: list[Verdict], status: int) -> None:
    assert EXIT_STATUS[overall(verdicts)] == status


@pytest.mark.parametrize(
    ("pytest_status", "verdicts", "status"),
    [
        (0, [], 0),
        (1, [Verdict.INVALID], 4),
        (1, [], 1),  # a test without a cluster
        (3, [], 3),
        (4, [], 2),
        (5, [], 2),
    ],
)
def test_pytests_status_becomes_hils(pytest_status: int, verdicts: list[Verdict], status: int) -> None:
    collector = Collector()
    collector.verdicts = verdicts
    assert exit_status(pytest_status, collector) == status


def test_an_interrupted_run_is_no_verdict() -> None:
    collector = Collector()
    with pytest.raises(KeyboardInterrupt) as caught:
        raise KeyboardInterrupt
    collector.pytest_keyboard_interrupt(caught)
    assert exit_status(2, collector) == 130


def test_a_scenario_that_cannot_be_loaded_is_a_refusal() -> None:
    collector = Collector()
    collector.collected_badly = True
    assert exit_status(2, collector) == 2


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "own.py").write_text('"""A story of my own.\n\nMore of it."""\n')
    (tmp_path / "scenarios" / "broken.py").write_text("def :\n")
    (tmp_path / "scenarios" / "conftest.py").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_scenarios_of_the_current_directory_are_found_beside_those_that_come_along(elsewhere: Path) -> None:
    stories = {story.name: story.summary for story in runner.available()}
    assert stories["own"] == "A story of my own."
    assert stories["broken"] == "(cannot be read)"
    assert "mass_reboot" in stories
    assert "conftest" not in stories


def test_a_scenario_is_a_name_a_file_or_a_test_in_it(elsewhere: Path) -> None:
    own = elsewhere / "scenarios" / "own.py"
    assert runner.find("own") == str(own)
    assert runner.find("own::test_it") == f"{own}::test_it"
    assert runner.find("scenarios/own.py::test_it") == "scenarios/own.py::test_it"
    assert runner.find("scenarios") == "scenarios"


def test_an_unknown_one_is_told_with_those_that_exist(elsewhere: Path) -> None:
    with pytest.raises(UnknownScenario, match=r"there are: .*broken, .*graceful_shutdown, .*own"):
        runner.find("nosuch")


def test_what_was_asked_for_reaches_pytest(tmp_path: Path) -> None:
    options = Options(repeat=3, nodes=5, junit=tmp_path / "j.xml", report=tmp_path / "r", keep=True, name="lab")
    arguments = runner.arguments(["a.py"], options)
    wanted = ["--hil-repeat=3", "--hil-nodes=5", "--hil-keep", "--hil-name=lab"]
    wanted += [f"--junit-xml={tmp_path}/j.xml", f"--hil-report={tmp_path}/r"]
    assert [option for option in wanted if option not in arguments] == []
    assert arguments[-2:] == ["--", "a.py"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("assert True", 0),
        ("assert False", 1),
        ("import hil.errors; raise hil.errors.ClaimFailed('x')", 1),
        ("this is no Python", 2),  # pytest calls that "interrupted" too
    ],
)
def test_a_run_ends_with_its_status(tmp_path: Path, body: str, status: int) -> None:
    import os
    import subprocess
    import sys

    (tmp_path / "story.py").write_text(f"def test_it(): {body}\n")
    done = subprocess.run(
        [sys.executable, "-m", "hil.cli", "run", "story.py", "--junit", "out/j.xml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(runner.CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert (tmp_path / "out" / "j.xml").exists()
