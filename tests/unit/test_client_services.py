"""`cluster.services`: who is asked, waits, and what a scenario declares of services."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hil.client import Cluster
from hil.errors import BadServiceFile, ClaimFailed, EventManagerAway, LaboratoryError, MachineLost, ServiceRefused
from hil.scenario import ScenarioCluster
from hil.view import View
from tests.unit.serviced_bench import Stack, serviced_bench


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with serviced_bench(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def cluster(stack: Stack) -> Iterator[Cluster]:
    with Cluster.connect(stack.bench.name) as connected:
        yield connected


def test_another_node_is_asked_when_one_does_not_answer(stack: Stack, cluster: Cluster) -> None:
    stack.away[0] = EventManagerAway("no event manager")
    cluster.services.add({"name": "a"})
    assert [node for node, _ in stack.asked] == [0, 1]


def test_what_changes_something_is_asked_for_once_if_it_may_have_been_done(stack: Stack, cluster: Cluster) -> None:
    stack.away[0] = LaboratoryError("SSH failed")
    with pytest.raises(LaboratoryError, match="whether it was done is not known"):
        cluster.services.add({"name": "a"})
    assert [node for node, _ in stack.asked] == [0]
    cluster.services.list()
    assert [node for node, _ in stack.asked] == [0, 0, 1]


def test_a_cluster_without_event_managers_is_told_as_such(
    stack: Stack, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hil.client.service_requests.AWAY_LIMIT_S", 0.1)
    stack.away = {node: EventManagerAway(f"node {node}: nobody listens") for node in range(3)}
    with pytest.raises(EventManagerAway, match="node 2: nobody listens"):
        cluster.services.list()
    for node in range(3):
        stack.bench.log.emit("machine-stopped", node=node, detail="destroyed")
    cluster.catch_up()
    with pytest.raises(EventManagerAway, match="no node is joined"):
        cluster.services.list()


def test_files_are_checked_by_the_client_tables_by_the_event_manager(
    stack: Stack, cluster: Cluster, tmp_path: Path
) -> None:
    path = tmp_path / "it.toml"
    path.write_text("[[service]]\nname = 1\n", encoding="utf-8")
    with pytest.raises(BadServiceFile, match=r"it\.toml:2"):
        cluster.services.add(path)
    with pytest.raises(ServiceRefused, match="name: 1"):
        cluster.services.add({"name": 1})


def test_a_wait_ends_at_once_when_it_cannot_succeed(stack: Stack, cluster: Cluster) -> None:
    cluster.services.add({"name": "a"})
    cluster.services.wait_registered("a", on=0, timeout=5)
    with pytest.raises(ClaimFailed, match="service a registered on node 2: not within 0 s: it is registered on node 0"):
        cluster.services.wait_registered("a", on=2, timeout=0)
    stack.bench.log.emit("machine-stopped", node=2, detail="destroyed")
    with pytest.raises(MachineLost, match="node 2's machine is off"):
        cluster.services.wait_registered("a", on=2, timeout=600)
    cluster.services.stop("a")
    cluster.services.wait_deregistered("a", timeout=5)
    cluster.catch_up()
    cluster.services.remove("a")
    cluster.catch_up()
    with pytest.raises(ServiceRefused, match="'a' is no service"):
        cluster.services.wait_registered("a", timeout=600)


def test_a_wait_for_a_child_ends_at_once_when_its_parent_starts_nowhere(stack: Stack, cluster: Cluster) -> None:  # S9.4
    stack.status = {("a", "start", node): 1 for node in range(3)}
    cluster.services.add({"name": "a", "start_command": ["/bin/false"]}, {"name": "b", "parent": "a"})
    with pytest.raises(
        ClaimFailed, match="service b registered: a above it is registered nowhere: its start has failed"
    ):
        cluster.services.wait_registered("b", timeout=600)


def test_a_wait_for_a_service_that_is_removed_meanwhile_ends_at_once(stack: Stack, cluster: Cluster) -> None:
    cluster.services.add({"name": "a", "auto_register": "manual"})
    cluster.services.start("a")
    cluster.services.wait_registered("a", timeout=5)
    cluster.services.stop("a")
    cluster.services.wait_deregistered("a", timeout=5)
    begun = threading.Event()

    def why_not(_: View) -> str:
        begun.set()
        return "not yet"

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cluster.services.wait_until, "a", why_not, "service a as wanted", 600)
        assert begun.wait(30)
        fields = {"service": "a", "state": "removed", "number": 99}
        stack.bench.log.emit("service", node=0, **fields)
        with pytest.raises(ClaimFailed, match="service a as wanted: it was removed"):
            waiting.result(30)


def test_the_steps_of_a_service_are_in_the_order_in_which_they_were_decided(stack: Stack, cluster: Cluster) -> None:
    cluster.services.add({"name": "a", "start_command": ["/bin/true"], "node_preferences": [1]})
    cluster.services.wait_registered("a", on=1, timeout=5)
    cluster.services.move("a", 2)
    cluster.services.wait_transferred("a", before=1, timeout=5)
    told = [(step.state, step.node, step.flags) for step in cluster.services.steps("a")]
    assert told == [
        ("starting", 1, ""),
        ("registered", 1, ""),
        ("de-registered", 1, "T"),
        ("starting", 2, "T"),
        ("registered", 2, ""),
    ]
    assert [one["action"] for one in cluster.services.commands("a") if one["state"] == "ended"] == ["start", "start"]
    assert cluster.services.wait_command("a", "start", 2, timeout=5).status == 0
    with pytest.raises(
        ClaimFailed, match="stop command of service a on node 2 ended: not within 0 s: it has not begun"
    ):
        cluster.services.wait_command("a", "stop", 2, timeout=0)
    assert cluster.services.wait_shown("a", timeout=5, state="registered")["nodes"] == {"2": "registered"}
    with pytest.raises(ClaimFailed, match=r"service a shown with .*: not within 0 s: {'flags': ''}"):
        cluster.services.wait_shown("a", timeout=0, flags="M")


# -- scenarios


@pytest.fixture
def scenario(stack: Stack) -> Iterator[ScenarioCluster]:
    with ScenarioCluster.connect(stack.bench.name) as connected:
        yield connected


def test_a_scenario_fails_at_its_end_where_a_service_is_not_where_it_was_declared(
    stack: Stack, scenario: ScenarioCluster
) -> None:  # S9.1
    scenario.services.add({"name": "a", "node_preferences": [0]}, {"name": "b"})
    scenario.services.wait_registered("a", timeout=5)
    scenario.expect_service("b")
    scenario.expect_service("a", on=scenario.nodes[1])
    with pytest.raises(ClaimFailed, match=r"^service a was to be registered on node 1: it is registered on node 0$"):
        scenario.check_services()
    scenario.expect_service("a", on=scenario.nodes[0])
    scenario.check_services()


def test_a_block_that_moves_a_service_ends_when_it_is_registered_anew(stack: Stack, scenario: ScenarioCluster) -> None:
    scenario.services.add({"name": "a", "node_preferences": [0]})
    scenario.services.wait_registered("a", timeout=5)
    with scenario.expecting_service("a", on=scenario.nodes[2], within=5):
        scenario.services.move("a", 2)
    with (
        pytest.raises(ClaimFailed, match="service a was to be registered on node 2 anew: not within 0 s"),
        scenario.expecting_service("a", on=scenario.nodes[2], within=0),
    ):
        pass
    with (
        pytest.raises(ClaimFailed, match="on node 1 anew: it is registered on node 0 instead"),
        scenario.expecting_service("a", on=scenario.nodes[1], within=600),
    ):
        scenario.services.move("a", 0)
