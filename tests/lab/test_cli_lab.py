"""The command line on two real guests, each verb as a user types it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

NAME = f"t-cli-lab-{os.getpid()}"
TREE = Path(__file__).resolve().parents[2]


def hil(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "hil.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TREE)},
        timeout=300,
        check=False,
    )


def ok(*arguments: str, stdin: str = "") -> str:
    done = hil(*arguments, stdin=stdin)
    assert done.returncode == 0, f"hil {' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """All nodes joined; the verbs under test leave it so, or power-cycle."""
    try:
        told = ok("up", "--nodes", "2", "--name", NAME)
        assert f"cluster {NAME} is up: 2 nodes joined" in told
        yield
    finally:
        hil("down", NAME)


def test_a_running_cluster_is_listed_and_its_name_is_taken() -> None:
    assert NAME in ok("list").splitlines()
    assert NAME in json.loads(ok("list", "--json"))
    again = hil("up", "--name", NAME)
    assert again.returncode == 2
    assert "is already up" in again.stderr


def test_status_shows_all_levels_joined() -> None:
    told = json.loads(ok("status", "--name", NAME, "--json"))
    assert told["members"] == [0, 1]
    for node in told["nodes"]:
        assert node["levels"] == dict.fromkeys(["0", "10", "20", "30", "40"], "joined")
    # What is loaded beside the join takes its place a moment later; until then that is marked.
    assert "manager" in ok("status", "--name", NAME).splitlines()[3]


def test_ssh_runs_a_command_on_that_node_and_passes_its_status_through() -> None:
    assert ok("ssh", "1", "--name", NAME, "--", "hostname") == "n1\n"
    assert hil("ssh", "0", "--name", NAME, "--", "exit 7").returncode == 7
    assert ok("ssh", "0", "--name", NAME, "--", "cat", stdin="through and back") == "through and back"


def test_console_and_events_show_the_start() -> None:
    console = ok("console", "1", "--name", NAME)
    assert "guestd: node 1 begins" in console or "starting guestd on node 1" in console  # from a saved machine, or not
    events = [json.loads(line) for line in ok("events", "--json", "--name", NAME).splitlines()]
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    assert {event["node"] for event in events if event["kind"] == "guestd-started"} == {0, 1}


def test_a_node_that_panicked_is_shown_so_and_power_cycled() -> None:
    assert ok("panic", "1", "--reason", "for the test", "--name", NAME) == "node 1: panicked: for the test\n"
    assert "PANIC: for the test" in ok("console", "1", "--name", NAME)
    shown = json.loads(ok("status", "--json", "--name", NAME))["nodes"][1]
    assert (shown["power"], shown["panic_reason"]) == ("crashed", "for the test")
    refused = hil("ssh", "1", "--name", NAME)
    assert refused.returncode == 2
    assert "hil power cycle 1" in refused.stderr
    assert ok("power", "cycle", "1", "--name", NAME) == "node 1: power-cycled\n"


def test_down_leaves_nothing_running_and_twice_is_fine() -> None:
    assert f"cluster {NAME} is down" in ok("down", NAME)
    assert NAME not in ok("list").splitlines()
    assert ok("down", NAME) == f"cluster {NAME} is not running\n"
