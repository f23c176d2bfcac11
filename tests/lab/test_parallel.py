"""Two real clusters side by side under one ``hil run``, and a worker that is killed leaves no cluster (spec S10.1)."""

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hil.bench.address import running_clusters

pytestmark = pytest.mark.lab

TREE = Path(__file__).resolve().parents[2]

# Two pipes with names: opening one end waits for somebody who opens the other, so each test waits for the other one.
MEET = """
import os, pytest
from pathlib import Path
HERE = Path(__file__).parent

@pytest.mark.cluster(nodes=2)
def test_left(cluster):
    os.close(os.open(HERE / "left-to-right", os.O_WRONLY))
    assert cluster.wait_joined().newest.joined() == [0, 1]

@pytest.mark.cluster(nodes=2)
def test_right(cluster):
    os.close(os.open(HERE / "left-to-right", os.O_RDONLY))
    assert cluster.wait_joined().newest.joined() == [0, 1]
"""

DIES = """
import os, signal, pytest

@pytest.mark.cluster(nodes=2, joined=False)
def test_dies_in_the_middle(cluster):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def hil_run(directory: Path, source: str, *options: str) -> tuple[int, str]:
    (directory / "story.py").write_text(source)
    done = subprocess.run(
        # Four nodes, whatever else runs on this machine: a test that waits for others' clusters says nothing.
        [sys.executable, "-m", "hil.cli", "run", "story.py", "--jobs", "2", "--max-nodes", "64", *options],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(TREE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout


def lifetime(run_dir: Path) -> tuple[float, float]:
    """When the first node of the run had joined, and when the last event was, in seconds of the host's clock."""
    began = datetime.datetime.strptime(run_dir.name, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=datetime.UTC).timestamp()
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    joined = min(event["t"] for event in events if event["kind"] == "state" and event["state"] == "joined")
    return began + joined, began + events[-1]["t"]


def test_two_scenarios_run_at_the_same_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "left-to-right")
    status, said = hil_run(tmp_path, MEET)
    assert status == 0, said
    names = re.findall(r"starting 2 nodes as (\S+)", said)
    assert {name.partition("-")[0] for name in names} == {"left", "right"}
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    first, second = (lifetime((state / "hil/runs" / name / "latest").resolve()) for name in names)
    assert max(first[0], second[0]) < min(first[1], second[1]), "one was gone before the other one had joined"
    assert said.count(": 2 of 2 joined, ") == 2
    assert not set(names) & set(running_clusters())


def test_the_cluster_of_a_worker_that_is_killed_is_taken_down(tmp_path: Path) -> None:
    status, said = hil_run(tmp_path, DIES)
    assert status == 3, said
    (name,) = re.findall(r"starting 2 nodes as (\S+)", said)
    assert f"has ended without taking cluster {name} down" in said
    assert name not in running_clusters()
