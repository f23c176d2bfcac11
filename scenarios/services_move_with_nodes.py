"""What becomes of all client services when their node shuts down, and when the whole cluster loses its power (spec S9).

A graceful shutdown moves each service once, and its node stays until that is done. After a power failure each is
started once, when the cluster is mature for it, where it belongs.
"""

from __future__ import annotations

from typing import Any

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

COMMANDS = {"start_command": ["/bin/true"], "stop_command": ["/bin/true"]}
ROOTS = [f"root-{number}" for number in range(6)]
CHILDREN = {f"child-{number}": f"root-{number}" for number in range(3)}


def services(**chosen: Any) -> list[dict[str, Any]]:
    """Six roots, each with two preferred nodes, three of them with a child."""
    made: list[dict[str, Any]] = [
        {"name": name, **COMMANDS, **{key: value(number) for key, value in chosen.items()}}
        for number, name in enumerate(ROOTS)
    ]
    return made + [{"name": name, "parent": above, **COMMANDS} for name, above in CHILDREN.items()]


def wait_all_registered(cluster: ScenarioCluster) -> None:
    """Wherever."""
    for name in (*ROOTS, *CHILDREN):
        cluster.services.wait_registered(name)


@pytest.mark.cluster(nodes=3)
def test_a_node_that_shuts_down_hands_over_all_its_services_first(cluster: ScenarioCluster) -> None:  # S9.6, S4.13
    leaver = cluster.nodes[0]
    cluster.services.wait_ready()
    cluster.services.add(*services(node_preferences=lambda number: [0, 1 + number % 2]))
    wait_all_registered(cluster)
    before = cluster.catch_up().n

    cluster.shutdown(leaver)
    cluster.wait_off(leaver)
    wait_all_registered(cluster)

    steps = cluster.services.steps(since=before)
    for number, name in enumerate(ROOTS):
        assert [(step.state, step.flags, step.node) for step in steps if step.service == name] == [
            ("stopping", "T", 0),
            ("de-registered", "T", 0),
            ("starting", "T", 1 + number % 2),
            ("registered", "", 1 + number % 2),
        ]
    for name in CHILDREN:
        assert [step.state for step in steps if step.service == name] == [
            "stopping",
            "de-registered",
            "starting",
            "registered",
        ]
    events = list(cluster.events(since=before))
    (off_t,) = [event["t"] for event in events if event["kind"] == "machine-stopped"]
    assert max(step.t for step in steps if step.service in ROOTS) < off_t, "it left before its services had gone"
    assert [event for event in events if event["kind"] in {"panic", "preempted"}] == []


@pytest.mark.case("A15", "A25")
@pytest.mark.cluster(nodes=3)
def test_after_a_power_failure_each_service_starts_once_where_it_belongs(
    cluster: ScenarioCluster,
) -> None:  # S9.2, S9.3
    """The cluster is mature for each when its primary is up, so it starts there and nowhere else."""
    cluster.services.wait_ready()
    cluster.services.add(
        *services(node_preferences=lambda number: [number % 3, (number + 1) % 3], maturity_count=lambda number: 3)
    )
    wait_all_registered(cluster)
    before = cluster.catch_up().n

    cluster.power_cycle()
    cluster.wait_joined()
    wait_all_registered(cluster)

    steps = cluster.services.steps(since=before)
    incarnations = {node.id: node.view.incarnation for node in cluster.nodes}
    assert all(incarnations.values())
    for number, name in enumerate(ROOTS):
        started = [step for step in steps if step.service == name and step.state == "starting"]
        assert [step.node for step in started] == [number % 3], f"{name} was started more than once, or elsewhere"
    for name, above in CHILDREN.items():
        (child,) = (step for step in steps if step.service == name and step.state == "starting")
        (parent,) = (step for step in steps if step.service == above and step.state == "registered")
        assert child.node == parent.node
    for number, name in enumerate(ROOTS):
        cluster.services.wait_shown(name, nodes={str(number % 3): "registered"})
