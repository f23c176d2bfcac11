"""``hil report`` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hil.cli import main
from hil.evidence.layout import EVENTS
from tests.unit import report_runs


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this user's runs are: one, of the cluster `simulated`."""
    where = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(where))
        report_runs.story()
    return where


@pytest.fixture(autouse=True)
def newest(state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    return (state / "hil" / "runs" / "simulated" / "latest").resolve()


@pytest.mark.parametrize("by", ["nothing", "name", "directory"])
def test_a_page_is_written_into_the_run(newest: Path, capsys: pytest.CaptureFixture[str], by: str) -> None:
    named = {"nothing": [], "name": ["simulated"], "directory": [str(newest)]}[by]
    (newest / "report.html").unlink(missing_ok=True)
    assert main.main(["report", *named]) == 0
    assert capsys.readouterr().out == f"{newest / 'report.html'}\n"
    assert (newest / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_page_goes_where_it_is_told_to(newest: Path, tmp_path: Path) -> None:
    assert main.main(["report", "-o", str(tmp_path / "page.html")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_trace_is_json(tmp_path: Path) -> None:
    assert main.main(["report", "--perfetto", str(tmp_path / "trace.json")]) == 0
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def test_a_last_line_that_is_cut_short_is_told(
    newest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = report_runs.copy(newest, tmp_path / "run")
    (run / EVENTS).write_bytes((run / EVENTS).read_bytes()[:-5])
    assert main.main(["report", str(run)]) == 0
    assert "note: the last line of events.jsonl is cut short, and left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            ["nothing-of-that-name"],
            "no run 'nothing-of-that-name', and no such directory or bundle; there are runs of: simulated",
        ),
        (["{empty}"], "events.jsonl is empty"),
        (["{none}"], "is no recording of a run"),
        (["{other}"], "is a recording of version 7 (legal: 1)"),
        (["-o", "{none}/there/is/none.html"], "cannot be written"),
        (["-o", "{none}"], "cannot be written"),
        (["simulated", "simulated"], "one run at a time"),
        (["--compare", "simulated"], "takes two runs, not 1"),
        (["--compare", "simulated", "{empty}"], "is empty"),
        (["--index", "{none}"], "there is no run in it"),
        (["--index", "{none}/nowhere"], "no such directory"),
        (["--index", "{none}", "simulated"], "--index DIR draws every run"),
        (["--index", "{none}", "--compare"], "--compare and --index: one of them at a time"),
        (["--perfetto", "{none}/t.json", "--open"], "--perfetto names its file itself"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    places = {name: tmp_path / name for name in ("empty", "none", "other")}
    for place in places.values():
        place.mkdir()
    (places["empty"] / EVENTS).touch()
    (places["other"] / EVENTS).write_text('{"n":1,"t":0,"kind":"bench-started","recording":7,"nodes":3}\n')
    assert main.main(["report", *(one.format(**places) for one in arguments)]) == 2
    told = capsys.readouterr()
    assert why in told.err
    assert told.out == ""
    assert not list(tmp_path.rglob(".report-*"))
