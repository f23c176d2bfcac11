"""Client services on real guests: the command line, and instances that a dead or frozen node has left behind.

What the example services promise through power cuts is in ``scenarios/services_examples.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hil import Cluster
from scenarios.services_examples import HERE, bring, check_lives, shell

pytestmark = pytest.mark.lab

TREE = Path(__file__).resolve().parents[2]
SERVICE = """
[[service]]
name = "web"
node_preferences = [{node}]
start_command = "/bin/true"
stop_command = ["/bin/sleep", "0.1"]
notify_command = ["/bin/sh", "-c", "echo $HIL_REGISTERED_NODE >/run/web-is-on"]

[[service]]
name = "pages"
parent = "web"
start_command = ["/bin/sh", "-c", "echo $HIL_NODE $HIL_REGISTRATION $HIL_REASON >/run/pages"]
"""


def hil(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line on that cluster."""
    verb, *rest = arguments
    command = [sys.executable, "-m", "hil.cli", "service", verb, "--name", cluster.name, *rest]
    environment = os.environ | {"PYTHONPATH": str(TREE)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)


def ok(cluster: Cluster, *arguments: str) -> str:
    done = hil(cluster, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def no_services(cluster: Cluster) -> None:
    """Those of the test before are gone."""
    for one in cluster.services.list()["services"]:
        if not one["parent"]:
            cluster.services.remove(one["name"])
            cluster.services.wait_removed(one["name"])


@pytest.fixture
def web(tmp_path: Path) -> Path:
    path = tmp_path / "web.toml"
    path.write_text(SERVICE.format(node=1), encoding="utf-8")
    return path


def test_an_administrator_adds_looks_at_moves_and_removes_services(
    cluster: Cluster, web: Path
) -> None:  # S9.1, S9.4, S9.5, S9.6
    assert ok(cluster, "add", str(web)) == "web: registered on node 1\npages: registered on node 1\n"
    assert shell(cluster.nodes[1], "cat /run/pages") == "1 1 auto\n"
    cluster.services.wait_command("web", "notify", 0)
    assert shell(cluster.nodes[0], "cat /run/web-is-on") == "1\n"
    told = json.loads(ok(cluster, "show", "web", "--json"))
    assert (told["nodes"], told["children"]) == ({"1": "registered"}, ["pages"])
    assert "node 1: chosen: allowable; up; preferred node 1" in ok(cluster, "show", "web", "--explain")

    assert ok(cluster, "move", "web", "0") == "web: registered on node 0\n"
    cluster.services.wait_registered("pages", on=0)
    assert shell(cluster.nodes[0], "cat /run/pages") == "0 2 transfer\n"
    assert hil(cluster, "move", "web", "0").returncode == 2
    twice = hil(cluster, "add", str(web))
    assert twice.returncode == 2
    assert f"{web}:3: service 'web': name: there is such a service already" in twice.stderr
    assert ok(cluster, "stop", "web") == "web: stopped\n"
    assert [line.split()[:2] for line in ok(cluster, "list").splitlines()[1:]] == [["web", "-"], ["pages", "-"]]
    assert ok(cluster, "start", "web") == "web: registered on node 1\n"
    assert ok(cluster, "remove", "web") == "web: removed\n"
    assert ok(cluster, "list").startswith("no services")


def test_a_wrong_file_is_told_with_its_lines_and_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('[[service]]\nname = "a"\nallowable_nodes = [2]\nstart_comand = "x"\n', encoding="utf-8")
    before = cluster.services.list()["number"]
    done = hil(cluster, "add", str(path))
    assert done.returncode == 2
    assert [line.partition(": ")[0] for line in done.stderr.removeprefix("hil: ").splitlines()] == [
        f"{path}:3",
        f"{path}:4",
    ]
    assert cluster.services.list()["number"] == before


def test_an_instance_on_a_frozen_node_does_nothing_more(cluster: Cluster) -> None:  # S6.2, S9.1, A22
    """Its node is forced out while it stands still; it wakes, and what it would write is refused."""
    bring(cluster, "licence")
    cluster.services.wait_ready()
    cluster.services.add(HERE / "licence.toml")
    cluster.services.wait_registered("licence")
    (number,) = cluster.view.services["licence"].registered_on
    frozen, other = cluster.nodes[number], cluster.nodes[1 - number]
    before = cluster.view.services["licence"].newest_number
    cluster.freeze(frozen)
    cluster.services.wait_transferred("licence", before)
    cluster.services.wait_registered("licence", on=other)
    cluster.thaw(frozen)
    cluster.wait_crashed(frozen)
    check_lives(other, "licence", 2)
    assert [step.node for step in cluster.services.steps("licence") if step.state == "registered"][-1] == other.id
