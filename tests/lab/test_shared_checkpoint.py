"""Scenarios that share a checkpoint: the first prepares and saves it, the others go on from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hil import checkpoint

SCENARIO = """
import pytest


def with_a_second_life(cluster):
    cluster.power_cycle([cluster.nodes[1]])
    cluster.wait_joined()


shared = pytest.mark.cluster(nodes=2, checkpoint=with_a_second_life)


@shared
def test_first(cluster):
    assert cluster.nodes[1].view.incarnation == 2
    cluster.panic(cluster.nodes[1])
    cluster.wait_crashed(cluster.nodes[1])


@shared
@pytest.mark.parametrize("victim", [0, 1])
def test_others(cluster, victim):
    assert [node.view.incarnation for node in cluster.nodes] == [1, 2]
    cluster.wait_joined()
    node = cluster.nodes[victim]
    cluster.power_off([node])
    cluster.wait_state(node, "inactive")


@pytest.mark.cluster(nodes=2)
def test_alone(cluster):
    assert [node.view.incarnation for node in cluster.nodes] == [1, 1]
"""


def run(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    scenario = directory / "shared.py"
    scenario.write_text(text)
    hil = Path(sys.executable).with_name("hil")
    command = [str(hil), "run", str(scenario), "--report", str(directory / "report")]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


def events(directory: Path, test: str) -> list[dict[str, Any]]:
    [found] = (directory / "report").glob(f"*{test}*/events.jsonl")
    return [json.loads(line) for line in found.read_text().splitlines()]


def test_the_first_of_them_prepares_and_saves_what_all_others_begin_from(tmp_path: Path) -> None:
    done = run(tmp_path, SCENARIO)
    assert done.returncode == 0, done.stdout[-4000:]
    saved = [event for event in events(tmp_path, "test_first") if event["kind"] == "checkpoint-saved"]
    assert len(saved) == 1
    for test in ("test_others-0", "test_others-1"):
        told = events(tmp_path, test)
        assert [event["n"] for event in told] == list(range(1, len(told) + 1))
        [restored] = [event["n"] for event in told if event["kind"] == "checkpoint-restored"]
        boots = [event["n"] for event in told if event["kind"] == "machine-starting"]
        assert boots
        assert max(boots) < restored, "no node boots in a test that goes on from a checkpoint"
    assert not [event for event in events(tmp_path, "test_alone") if event["kind"].startswith("checkpoint")]
    own = f".session-{os.getpid()}"  # of the session that runs this test, which may have some of its own
    left = [path for path in checkpoint.directory().glob(".session-*") if path.name != own]
    assert not left, "they go with the session"


def test_a_shared_checkpoint_of_nodes_that_have_not_joined_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, SCENARIO.replace("nodes=2, checkpoint", "nodes=2, joined=False, checkpoint"))
    assert "a shared checkpoint is of joined nodes, so not joined=False" in done.stdout
    assert done.returncode != 0
