"""Groups of client services: children go where their parent goes, stop before it and start after it (spec S9.4).

A group of three generations through a transfer and through the death of its node.
"""

from __future__ import annotations

from typing import Any

import pytest

from hil.client.services import Step
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

COMMANDS = {"start_command": ["/bin/true"], "stop_command": ["/bin/true"]}
PARENTS = {"parent": "", "child-1": "parent", "child-2": "parent", "grandchild": "child-1"}
"""Each with the service above it."""


def group(**of_the_parent: Any) -> list[dict[str, Any]]:
    """Three generations."""
    made: list[dict[str, Any]] = [{"name": "parent", **COMMANDS, **of_the_parent}]
    made += [{"name": name, "parent": above, **COMMANDS} for name, above in PARENTS.items() if above]
    return made


def wait_all_registered(cluster: ScenarioCluster, on: int) -> None:
    """The whole group, there."""
    for name in PARENTS:
        cluster.services.wait_registered(name, on=on)


def position(steps: list[Step], service: str, state: str) -> int:
    """Of the only step of that service into that state."""
    (found,) = (index for index, step in enumerate(steps) if (step.service, step.state) == (service, state))
    return found


@pytest.mark.cluster(nodes=3)
def test_in_a_transfer_children_stop_first_and_start_last(cluster: ScenarioCluster) -> None:  # S9.4, S9.6
    cluster.services.wait_ready()
    cluster.services.add(*group(node_preferences=[0]))
    wait_all_registered(cluster, 0)
    before = cluster.catch_up().n

    cluster.services.move("parent", 2)
    wait_all_registered(cluster, 2)

    steps = cluster.services.steps(since=before)
    assert len(steps) == 4 * len(PARENTS), "a service took a step twice"
    for name, above in PARENTS.items():
        assert [(step.state, step.node) for step in steps if step.service == name] == [
            ("stopping", 0),
            ("de-registered", 0),
            ("starting", 2),
            ("registered", 2),
        ]
        if above:
            assert position(steps, name, "de-registered") < position(steps, above, "stopping")
            assert position(steps, above, "registered") < position(steps, name, "starting")


@pytest.mark.cluster(nodes=3)
def test_when_its_node_dies_the_whole_group_starts_on_one_other_node(cluster: ScenarioCluster) -> None:  # S9.4, S9.5
    cluster.services.wait_ready()
    cluster.services.add(*group(node_preferences=[1, 2, 0], recovery_command=["/bin/true"]))
    wait_all_registered(cluster, 1)
    before = cluster.catch_up().n

    cluster.power_off([cluster.nodes[1]])
    wait_all_registered(cluster, 2)

    steps = cluster.services.steps(since=before)
    for name, above in PARENTS.items():
        states = [(step.state, step.node) for step in steps if step.service == name]
        assert states[-2:] == [("starting", 2), ("registered", 2)]
        assert states.count(("starting", 2)) == 1
        if above:
            assert position(steps, above, "registered") < position(steps, name, "starting")
    recovered = [one for one in cluster.services.commands("parent", before) if one["action"] == "recovery"]
    assert [(one["node"], one["state"]) for one in recovered] == [(2, "begun"), (2, "ended")]
    lost = [step for step in steps if step.service == "parent" and step.state == "recovering"]
    assert lost[-1].node == 2
    assert lost[-1].registration < steps[-1].registration or steps[-1].service != "parent"
