"""Which runs there are, what came of each, and which of them stay."""

from __future__ import annotations

import datetime
import json
import os
import time
from pathlib import Path

import pytest

from hil import paths
from hil.bench.log import EventLog
from hil.cli import main
from hil.evidence import layout, retention, runs
from hil.evidence.retention import DAYS, KEPT, MIB, Limits
from hil.evidence.runs import CUT_SHORT, RUNNING, UNJUDGED, Run
from tests.unit.sim_cluster import started

DAY_S = 86_400


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for variable in (KEPT, MIB, DAYS):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "hil" / "runs"


def keep(home: Path, cluster: str, age_s: float, verdict: str | None = "passed", *, ended: bool = True) -> Path:
    """A folder of a run of that age."""
    began = datetime.datetime.fromtimestamp(time.time() - age_s, datetime.UTC)
    path = home / cluster / began.strftime("%Y%m%dT%H%M%S.%fZ")
    path.mkdir(parents=True)
    last = {"n": 1, "t": 0.0, "kind": "bench-stopping" if ended else "power"}
    (path / layout.EVENTS).write_text(json.dumps(last, separators=(",", ":")) + "\n")
    if verdict is not None:
        (path / layout.VERDICT).write_text(json.dumps({"verdict": verdict, "test": f"{cluster}.py::test_it"}))
    (path.parent / "latest").unlink(missing_ok=True)
    (path.parent / "latest").symlink_to(path.name)
    return path


def test_a_run_is_what_was_judged_of_it_or_else_how_it_ended(home: Path) -> None:
    keep(home, "passed", 10)
    keep(home, "failed", 20, "claim failed")
    keep(home, "up", 30, None)
    keep(home, "killed", 40, None, ended=False)
    log = EventLog(keep(home, "alive", 50, None) / layout.EVENTS, 2)
    found = {run.path.parent.name: run.verdict for run in runs.everything()}
    assert list(found) == ["passed", "failed", "up", "killed", "alive"]  # the newest first
    assert found == {
        "passed": "passed",
        "failed": "claim failed",
        "up": UNJUDGED,
        "killed": CUT_SHORT,
        "alive": RUNNING,
    }
    log.close()
    assert runs.look(log_path := runs.newest("alive") or home).verdict == UNJUDGED, log_path


def test_a_simulated_run_goes_on_until_it_is_down() -> None:
    with started() as cluster:
        assert runs.look(cluster.run_dir).verdict == RUNNING
    assert runs.look(cluster.run_dir).verdict == UNJUDGED


def test_a_verdict_that_cannot_be_read_is_none(home: Path) -> None:
    path = keep(home, "torn", 1)
    (path / layout.VERDICT).write_text('{"verdict": "pas')
    assert runs.look(path).verdict == UNJUDGED
    (path / layout.VERDICT).write_text("[]")
    assert runs.look(path).verdict == UNJUDGED


def run(name: str, verdict: str, *, mib: int = 1, age_s: float = 0) -> Run:
    return Run(Path("/runs", name, "x"), verdict, mib << 20, 1e9 - age_s)


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        (Limits(9, 99, 99), []),
        (Limits(2, 99, 99), ["old", "older"]),
        (Limits(0, 99, 99), ["new", "unjudged", "old", "older"]),
        (Limits(9, 6, 99), ["old", "older"]),
        (Limits(9, 8, 99), ["older"]),
        (Limits(9, 99, 3), ["older"]),
        (Limits(9, 99, 0), ["unjudged", "old", "older"]),
    ],
)
def test_the_newest_stay_within_number_size_and_age_and_whatever_failed_or_goes_on(
    limits: Limits, gone: list[str]
) -> None:
    found = [
        run("alive", RUNNING, mib=50),
        run("new", "passed"),
        run("broke", "laboratory broke", mib=50, age_s=DAY_S),
        run("unjudged", UNJUDGED, mib=4, age_s=DAY_S),
        run("failed", "claim failed", mib=50, age_s=90 * DAY_S),
        run("old", "passed", mib=3, age_s=2 * DAY_S),
        run("older", CUT_SHORT, mib=2, age_s=4 * DAY_S),
    ]
    removed = [one.path.parent.name for one in retention.superfluous(found, limits, 1e9)]
    assert removed == gone


def test_those_that_failed_go_like_others_when_that_is_asked_for() -> None:
    found = [run("a", "claim failed"), run("b", "passed"), run("c", "invalid")]
    removed = retention.superfluous(found, Limits(1, 99, 99), 1e9, failed=True)
    assert [one.path.parent.name for one in removed] == ["b", "c"]


def test_a_new_run_prunes_the_others(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = [keep(home, f"c{number}", 100 + number) for number in range(3)]
    failed = keep(home, "failed", 500, "claim failed")
    monkeypatch.setenv(KEPT, "2")
    with started() as cluster:
        assert [path.exists() for path in old] == [True, True, False]
        assert failed.exists()
        assert cluster.run_dir.exists()
    assert not (home / "c2").exists()  # nothing is left of a cluster without runs


def test_a_folder_that_is_just_being_made_is_not_pruned(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = paths.new_run_dir("begins")
    monkeypatch.setenv(KEPT, "0")
    assert retention.prune() == []
    assert path.is_dir()


@pytest.mark.parametrize("text", ["many", "-1", "1.5"])
def test_a_limit_that_is_no_number_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.setenv(MIB, text)
    keep(home, "c", 1)
    assert main.main(["runs", "prune"]) == 2
    assert f"HIL_RUNS_MIB={text}: legal are whole numbers from 0; default: 4096" in capsys.readouterr().err


# -- as it is typed


def test_the_runs_are_listed_and_pruned(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new, old = keep(home, "new", 60), keep(home, "old", 7200)
    keep(home, "failed", 3 * DAY_S, "claim failed")
    assert main.main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "verdict", "MiB", "age", "test"]
    assert [line.split()[0].partition("/")[0] for line in lines[1:]] == ["new", "old", "failed"]
    assert lines[3].endswith(" 3 d  failed.py::test_it")
    monkeypatch.setenv(KEPT, "1")
    assert main.main(["runs", "prune", "--dry-run"]) == 0
    assert "1 runs would be gone" in capsys.readouterr().out
    assert old.exists()
    assert main.main(["runs", "prune", "--json"]) == 0
    (gone,) = json.loads(capsys.readouterr().out)
    assert (gone["path"], gone["verdict"]) == (str(old), "passed")
    assert not old.exists()
    assert main.main(["runs", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["run"].partition("/")[0] for one in told] == ["new", "failed"]
    assert set(told[0]) == {"run", "path", "verdict", "test", "bytes", "began", "age_s"}
    assert told[0]["path"] == str(new)


def test_without_any_run_it_is_said_where_they_would_be(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["runs"]) == 0
    assert f"there are no runs in {home}" in capsys.readouterr().err
    assert main.main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_run_is_named_by_its_cluster_by_its_time_or_as_a_directory(home: Path) -> None:
    older, newer, other = keep(home, "a", 20), keep(home, "a", 10), keep(home, "b", 5)
    assert runs.find(None) == other
    assert runs.find("a") == newer
    assert runs.find(f"a/{older.name}") == older
    assert runs.find(os.path.relpath(older)) == older
