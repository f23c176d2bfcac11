"""What a run says of itself, and what is no such thing."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from hil.cli import main
from hil.errors import UsageError
from hil.evidence import layout, manifest
from tests.unit.sim_cluster import started


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture
def run() -> Path:
    with started(7, nodes=2, timing={"death_ms": 2000}) as cluster:
        pass
    return cluster.run_dir


def rewrite(run: Path, **fields: Any) -> None:
    told = json.loads((run / layout.MANIFEST).read_text()) | fields
    (run / layout.MANIFEST).write_text(json.dumps(told))


def test_it_has_all_that_the_run_follows_from(run: Path) -> None:
    found = manifest.load(run)
    assert (found.format, found.backend, found.nodes, found.seed) == (layout.FORMAT, "sim", 2, 7)
    assert found.timing["death_ms"] == 2000
    assert found.config["name"] == "simulated"
    assert found.versions["python"] == platform.python_version()
    assert found.host["cores"] >= 1
    assert len(found.guestd) == 64
    assert found.simulation is not None
    assert found.simulation["seed"] == 7
    assert found.repeat is not None


def test_who_ran_a_scenario_adds_which(run: Path) -> None:
    scenario = manifest.Scenario("scenarios/x.py::test_it", "ab" * 32, 3, 7, {"capture": True})
    before = manifest.load(run)
    manifest.amend(run, repeat="hil run x", scenario=scenario)
    found = manifest.load(run)
    assert (found.repeat, found.scenario) == ("hil run x", scenario)
    assert found.created == before.created
    (run / layout.MANIFEST).unlink()
    manifest.amend(run, repeat="hil run x")  # one that was killed before it had one stays without
    assert not (run / layout.MANIFEST).exists()


BAD: dict[str, tuple[dict[str, Any] | str, str]] = {
    "another format": ({"format": 99}, r"is of format 99 \(legal: 1\); use the hil that has recorded it"),
    "no format": ("{}", "is of format None"),
    "no object": ("[1]", "is of format None"),
    "torn": ('{"format": 1, "back', "is damaged: it is no JSON"),
    "a field is missing": ('{"format": 1}', "is damaged: recording: field required"),
    "another back end": ({"backend": "cloud"}, "is damaged: backend: input should be 'qemu' or 'sim'"),
    "no nodes": ({"config": {}}, "is damaged: config has no nodes, or timing no death_ms"),
    "times that are none": (
        {"timing": {"death_ms": "long"}},
        "is damaged: timing.death_ms: input should be a valid integer",
    ),
    "no time": ({"timing": {"death_ms": 0}}, "is damaged: config has no nodes, or timing no death_ms"),
    "a seed that is none": ({"seed": "x"}, "is damaged: seed: input should be a valid integer"),
    "a scenario that is none": (
        {"scenario": {"test": 1, "digest": ""}},
        "is damaged: scenario.test: input should be a valid string",
    ),
    "a scenario of other keys": ({"scenario": {"file": 1}}, "is damaged: "),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("verb", [[], ["--plan"]])
def test_what_is_none_is_named_with_what_is_legal(
    run: Path, capsys: pytest.CaptureFixture[str], what: str, verb: list[str]
) -> None:
    said, told = BAD[what]
    if isinstance(said, str):
        (run / layout.MANIFEST).write_text(said)
    else:
        rewrite(run, **said)
    with pytest.raises(UsageError, match=told):
        manifest.load(run)
    assert main.main(["replay", *verb, str(run)]) == 2
    assert layout.MANIFEST in capsys.readouterr().err


def test_a_newer_field_of_the_same_format_is_ignored(run: Path) -> None:
    rewrite(run, weather="fine")
    assert manifest.load(run).backend == "sim"


def test_a_folder_without_one_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    assert main.main(["replay", str(tmp_path / "run")]) == 2
    assert "not the folder of a run, or of one that never began" in capsys.readouterr().err


def test_manifest_and_events_that_are_of_two_runs_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads((run / layout.MANIFEST).read_text())
    rewrite(run, config=told["config"] | {"nodes": 5})
    assert main.main(["replay", str(run)]) == 2
    assert "manifest.json is of 5 nodes, events.jsonl of 2: no run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "told"),
    [({"color": "red"}, "color: no such key"), ({"disk_mib": 1}, "disk_mib = 1: ")],
)
def test_a_cluster_that_cannot_be_here_is_refused_key_by_key(
    run: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], told: str
) -> None:
    rewrite(run, config=json.loads((run / layout.MANIFEST).read_text())["config"] | config)
    assert main.main(["replay", str(run)]) == 2
    assert told in capsys.readouterr().err


def test_events_that_cannot_be_are_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (run / layout.EVENTS).open("a") as events:
        events.write('{"n": 900, "t": 9.0, "kind": "power", "action": "off"}\n')
    lines = (run / layout.EVENTS).read_text().replace('"kind":"bench-stopping"', '"kind":"other"')
    (run / layout.EVENTS).write_text(lines)
    assert main.main(["replay", str(run)]) == 2
    assert "events.jsonl tells of what cannot be: KeyError" in capsys.readouterr().err


def test_a_run_that_never_told_anything_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / layout.EVENTS).write_text("")
    for verb in ("replay", "recheck"):
        assert main.main([verb, str(run)]) == 2
        assert "events.jsonl is empty: the run ended before it had told anything" in capsys.readouterr().err
