"""What the shell completes: scenarios, clusters, nodes, runs; asked as the shell asks."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hil import paths
from hil.cli import main
from hil.config import make_config
from tests.unit.fake_bench import fake_bench

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complete:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("_HIL_COMPLETE", "complete_bash")

    def ask(*words: str) -> list[str]:
        """The last word is the one that is typed."""
        monkeypatch.setenv("COMP_WORDS", "\n".join(["hil", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        assert main.main([]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out.split()

    return ask


def test_scenarios_by_their_names(complete: Complete) -> None:
    assert complete("run", "mass") == ["mass_reboot"]
    assert {"mass_reboot", "silent_cut"} <= set(complete("run", "mass_reboot", ""))
    assert complete("run", "/tmp/no-such") == []


def test_clusters_and_their_nodes(complete: Complete) -> None:
    name = f"t-complete-{os.getpid()}"
    directory = paths.new_run_dir(name)
    with fake_bench(name, directory, nodes=2):
        config = make_config(name=name, nodes=2)
        (directory / "cluster.json").write_text(json.dumps({"config": config.model_dump()}), encoding="utf-8")
        assert complete("status", "--name", "t-complete-") == [name]
        assert complete("power", "off", "--name", name, "") == ["0", "1", "all"]
        assert complete("freeze", "--name", name, "1") == ["1"]
    assert complete("status", "--name", "t-complete-") == []


def test_runs_by_their_clusters(complete: Complete) -> None:
    paths.new_run_dir("lab")
    assert complete("replay", "") == ["lab"]


def test_what_cannot_be_told_is_left_out(complete: Complete) -> None:
    assert complete("power", "off", "--name", "t-never-was", "") == []
    assert complete("replay", "") == []
