"""``hil sim`` on the command line: what cannot be is refused with what is legal, and what it prints for whom."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from hil.cli import main
from hil.compiled import cache
from tests.mutations.catalogue import BY_NAME


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--seeds 5:5", "--seeds 5:5: empty (legal: A:B with 0 <= A < B"),
        ("--seeds 5:4", "--seeds 5:4: reversed (legal: A:B"),
        ("--seeds x:4", "--seeds x:4: no range of seeds (legal: A:B"),
        ("--seeds 1:x", "--seeds 1:x: no range of seeds"),
        ("--seeds :4", "--seeds :4: no range of seeds"),
        ("--seeds 1:2:3", "--seeds 1:2:3: no range of seeds"),
        ("--seeds -1:4", "--seeds -1:4: no range of seeds"),
        ("--seeds 1.5", "--seeds 1.5: no range of seeds"),
        ("--seeds ٣", "--seeds ٣: no range of seeds"),
        ("--seeds 5:", "--seeds 5:: without end (legal: A:B"),
        ("--jobs 0", "--jobs 0 (legal: 1 or more)"),
        ("--jobs -3", "--jobs -3 (legal: 1 or more)"),
        ("--minutes 0", "--minutes 0 (legal: more than 0)"),
        ("--minutes -1", "--minutes -1 (legal: more than 0)"),
        ("--minutes nan", "--minutes nan (legal: more than 0)"),
        ("--options wild", "preset 'wild' (legal: lite, swarm, quick, performance)"),
        ("--preset wild", "preset 'wild' (legal: lite, swarm, quick, performance)"),
        ("--nodes 65", "65 nodes (legal: 2 to 64)"),
        ("--nodes 1", "1 nodes (legal: 2 to 64)"),
        ("--nodes few", "'--nodes': Input should be a valid integer"),
        ("--sedes 1:2", "--sedes"),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_legal(
    capsys: pytest.CaptureFixture[str], arguments: str, told: str
) -> None:
    assert main.main(["sim", *arguments.split()]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.out == ""


def test_a_campaign_ends_with_what_it_has_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["sim", "--seeds", "0:3", "--preset", "lite", "--jobs", "2"]) == 0
    assert capsys.readouterr().out.startswith("3 seeds passed: ")


def test_minutes_end_a_range_without_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["sim", "--seeds", "0:", "--preset", "lite", "--jobs", "1", "--minutes", "0.001", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] >= 1


def test_one_object_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["sim", "--seeds", "0:2", "--preset", "quick", "--jobs", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["preset"], said["seeds"], said["failed"]) == ("quick", 2, [])
    assert said["simulated_s"] > 40
    assert said["events"] > 1000


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cache, "found", lambda: None)  # it is this process's guestd that is broken
    with BY_NAME["barrier-skipped"].applied():
        yield


def test_a_seed_that_fails_is_told_with_its_claim_its_options_what_led_to_it_and_what_repeats_it(
    capsys: pytest.CaptureFixture[str], broken: None
) -> None:
    assert main.main(["sim", "--seeds", "2", "--preset", "lite", "--jobs", "1"]) == 1
    told = capsys.readouterr().out
    assert "seed 2 FAILED: " in told
    assert "  repeat: hil sim --seeds 2:3 --preset lite --nodes 3" in told
    assert "    weights = crash:1 doom:1 power-failure:1 leave:1" in told
    assert told.split("what led to it:")[1].split("digest:")[0].count("\n") > 10
    assert told.splitlines()[-2].startswith("1 of 1 seeds failed: ")
    assert main.main(["sim", "--seeds", "2", "--preset", "lite", "--jobs", "1", "--json"]) == 1
    (failed,) = json.loads(capsys.readouterr().out)["failed"]
    assert (failed["seed"], failed["command"]) == (2, "hil sim --seeds 2:3 --preset lite --nodes 3")
    assert failed["claim"] and failed["violation"] and failed["story"] and failed["digest"]  # noqa: PT018 - all of it


def test_what_runs_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["sim", "--seeds", "1", "--preset", "quick", "--jobs", "1"]
    assert main.main([*arguments, "--interpreted"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(", interpreted")
    place = cache.found()
    assert main.main(arguments) == 0
    wanted = ", interpreted" if place is None else ", compiled by mypyc"
    assert capsys.readouterr().out.splitlines()[0].endswith(wanted)

    def refuse() -> None:
        raise cache.NotBuilt("no compiler")

    monkeypatch.setattr(cache, "found", lambda: None)
    monkeypatch.setattr(cache, "built", refuse)
    assert main.main([*arguments, "--compiled"]) == 2
    assert "--compiled: no compiler" in capsys.readouterr().err
    monkeypatch.setattr("hil.cli.sim._LONG_SEEDS", 1)  # worth it: but it is done without, if need be
    assert main.main([*arguments, "--json"]) == 0
    told = capsys.readouterr()
    assert "interpreted instead: no compiler" in told.err
    assert json.loads(told.out)["python"].endswith(", interpreted")
