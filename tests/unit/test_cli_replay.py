"""``hil recheck``, which ``hil replay --check`` is too, as a person types it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hil.cli import main
from hil.evidence.layout import EVENTS, LEDGER
from hil.sim.options import draw
from tests.unit.sim_recordings import Run, record


@pytest.fixture(scope="module")
def run() -> Run:
    return record(draw(0, "lite"))


@pytest.fixture
def directory(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newest run of this user."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    runs = tmp_path / "hil" / "runs"
    for cluster, stamp in (("other", "20260101T000000.000000Z"), ("demo", "20260102T000000.000000Z")):
        run.keep(runs / cluster / stamp)
        (runs / cluster / "latest").symlink_to(stamp)
    return runs / "demo" / "latest"


def rewrite(directory: Path, number: int, **fields: object) -> None:
    """Change one event of the file."""
    lines = (directory / EVENTS).read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | fields)
    (directory / EVENTS).write_text("\n".join(lines) + "\n")


def forge(directory: Path) -> int:
    """The number of an event in which a node says that it was elected for an epoch of another's."""
    events = [json.loads(line) for line in (directory / EVENTS).read_text().splitlines()]
    elected = next(event for event in events if event["kind"] == "elected")
    place = next(n for n, event in enumerate(events) if event["kind"] == "bid" and event["node"] != elected["node"])
    fields = {key: value for key, value in elected.items() if key not in ("n", "t", "node")}
    rewrite(directory, place, **fields)
    return place + 1


@pytest.mark.parametrize("typed", [["recheck"], ["replay", "--check"]])
def test_the_newest_run_is_checked_and_each_claim_is_told(
    directory: Path, capsys: pytest.CaptureFixture[str], typed: list[str]
) -> None:
    assert main.main(typed) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{directory.resolve()}: ")
    assert "held       one_owner: an epoch has one owner (S3.2)" in told
    (survivors,) = [line for line in told if line.startswith("not judged survivors: ")]
    assert "; lacks what only a simulator sees" in survivors
    held = [line for line in told if line.startswith("held ")]
    assert told[-1].startswith(f"claims: {len(held)} held, 0 violated, ")


@pytest.mark.parametrize("by_name", [True, False])
def test_a_run_is_named_by_its_cluster_or_its_directory(
    directory: Path, capsys: pytest.CaptureFixture[str], by_name: bool
) -> None:
    other = directory.parents[1] / "other" / "latest"
    assert main.main(["replay", "--check", "--json", "other" if by_name else os.path.relpath(other)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["passed"]) == (str(other.resolve()), True)
    assert {claim["outcome"] for claim in told["claims"]} == {"held", "not judged"}
    assert all(claim["lacks"] for claim in told["claims"] if claim["outcome"] == "not judged")


def test_what_was_written_may_not_have_been_kept(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "kept.data").unlink()
    assert main.main(["replay", "--check"]) == 0
    assert "not judged promise: a ballot is never forgotten (S3.2); lacks what the writes wrote" in (
        capsys.readouterr().out
    )


def test_a_claim_that_does_not_hold_is_told_with_what_led_to_it_and_where_it_stands(  # S3.2
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = forge(directory)
    assert main.main(["replay", "--check", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    (violated,) = [claim for claim in told["claims"] if claim["name"] == "one_owner"]
    assert violated["outcome"] == "violated"
    assert any(cause.startswith(f"event {number}: ") for cause in violated["causes"])
    assert main.main(["replay", "--check"]) == 1
    assert "one_owner: an epoch has one owner (S3.2): VIOLATED (event " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda run: rewrite(run, 0, recording=99), "is a recording of version 99 (legal: 1)"),
        (lambda run: rewrite(run, 0, kind="guestd-started"), "does not begin with bench-started: no recording"),
        (lambda run: rewrite(run, 0, nodes=10**9), "nodes = 1000000000 (legal: 1 to 64)"),
        (lambda run: (run / EVENTS).unlink(), "is no recording of a run: events.jsonl: No such file"),
        (lambda run: rewrite_ledger(run, 8, b"\x63\0"), "is a ledger of version 99"),
        (lambda run: rewrite_ledger(run, 0, b"nonsense"), "is not a ledger"),
        (lambda run: (run / LEDGER).write_bytes((run / LEDGER).read_bytes()[:-7]), "its last record is not whole"),
        (lambda run: (run / "kept.data").write_bytes(b"nonsense"), "is no kept data of version 2"),
    ],
)
def test_what_is_no_recording_of_this_version_is_refused_with_what_is_legal(
    directory: Path, capsys: pytest.CaptureFixture[str], spoil: object, told: str
) -> None:
    assert callable(spoil)
    spoil(directory)
    assert main.main(["replay", "--check", str(directory)]) == 2
    assert told in capsys.readouterr().err


def rewrite_ledger(directory: Path, offset: int, data: bytes) -> None:
    with (directory / LEDGER).open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_recording_from_before_there_were_numbers_is_refused(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (directory / EVENTS).read_text().splitlines()
    first = json.loads(lines[0])
    del first["recording"]
    (directory / EVENTS).write_text("\n".join([json.dumps(first), *lines[1:]]))
    assert main.main(["replay", "--check"]) == 2
    assert "of a version before there were numbers (legal: 1)" in capsys.readouterr().err


def test_an_event_that_is_none_is_refused_and_a_torn_last_one_is_not(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (directory / EVENTS).read_text()
    (directory / EVENTS).write_text(text[:-30])  # of a bench that was killed
    assert main.main(["replay", "--check"]) == 0
    (directory / EVENTS).write_text(text.replace("\n", "\nrubbish\n", 1))
    assert main.main(["replay", "--check"]) == 2
    assert "line 2 is no event: b'rubbish'" in capsys.readouterr().err


def test_events_that_were_lost_end_what_is_known_of_that_life(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in (directory / EVENTS).read_text().splitlines()]
    place = next(n for n, event in enumerate(lines) if event["kind"] == "notified")
    lost = {"n": place, "t": 0.0, "kind": "events-lost", "node": lines[place]["node"], "expected": 1, "got": 2}
    lines[place : place + 1] = [lost]
    (directory / EVENTS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main.main(["replay", "--check"]) == 0
    assert f"note: event {place}: events were lost of node {lost['node']}; " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "manifest.json: No such file or directory: not the folder of a run"),
        (["--check", "nosuch"], "no run 'nosuch', and no such directory or bundle; there are runs of: demo, other"),
        (["--json"], "replay --json: with --plan, or with --check"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    directory: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main.main(["replay", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_without_any_run_it_is_said_where_they_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main.main(["replay", "--check"]) == 2
    assert f"there are no runs in {tmp_path / 'hil' / 'runs'}" in capsys.readouterr().err
