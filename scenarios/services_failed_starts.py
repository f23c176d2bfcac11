"""Starts of client services that fail: the next node is tried, and children start where their parent does (spec S9.5).

The commands are real programs, so these scenarios need guests.
"""

from __future__ import annotations

from typing import Any

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.guests("start commands that fail are programs")]

COMMANDS = {"start_command": ["/bin/true"], "stop_command": ["/bin/true"]}
CHILDREN = {"child": "parent", "grandchild": "child"}


@pytest.mark.case("A21")
@pytest.mark.cluster(nodes=3)
def test_a_start_that_fails_is_tried_on_the_next_node_and_its_children_go_there(
    cluster: ScenarioCluster,
) -> None:  # S9.4, S9.5
    fails = ["/bin/sh", "-c", 'test "$HIL_NODE" != 0']
    parent: dict[str, Any] = {"name": "parent", **COMMANDS, "start_command": fails, "node_preferences": [0, 2]}
    cluster.services.wait_ready()
    cluster.services.add(parent, *({"name": name, "parent": above, **COMMANDS} for name, above in CHILDREN.items()))
    for name in ("parent", *CHILDREN):
        cluster.services.wait_registered(name, on=2)

    steps = cluster.services.steps()
    assert [(step.state, step.node) for step in steps if step.service == "parent"] == [
        ("starting", 0),
        ("stopping", 0),  # half of it may run
        ("de-registered", 0),
        ("starting", 2),
        ("registered", 2),
    ]
    for name in CHILDREN:
        assert {step.node for step in steps if step.service == name} == {2}, "a child started without its parent"
    shown = cluster.services.show("parent")
    assert shown["failed"] == [0]
    assert "failed" in shown["explain"][0]["why"][-1]


@pytest.mark.cluster(nodes=3)
def test_a_child_that_does_not_start_leaves_its_parent_where_it_is(cluster: ScenarioCluster) -> None:  # S9.4, S9.5
    parent = {"name": "parent", "node_preferences": [1], **COMMANDS}
    child = {"name": "child", "parent": "parent", "start_command": ["/bin/false"]}
    cluster.services.wait_ready()
    cluster.services.add(parent, child)
    cluster.services.wait_registered("parent", on=1)
    shown = cluster.services.wait_shown("child", state="-", failed=[1])
    assert "its own start has failed" in shown["why"]
    assert cluster.services.show("parent")["nodes"] == {"1": "registered"}


@pytest.mark.case("A21")
@pytest.mark.cluster(nodes=3)
def test_a_start_that_hangs_is_ended_in_its_time_and_the_next_node_is_tried(cluster: ScenarioCluster) -> None:
    hangs = ["/bin/sh", "-c", 'test "$HIL_NODE" != 1 || sleep 1000']
    timeout_s = round(2 * cluster.settings["settings"]["timing_factor"])  # the one that does not hang needs some of it
    cluster.services.wait_ready()
    slow = {"name": "slow", "node_preferences": [1], "start_command": hangs, "allowable_nodes": [1, 2]}
    cluster.services.add({**slow, "start_timeout": timeout_s})
    cluster.services.wait_registered("slow", on=2)
    assert cluster.view.service_commands["slow", "start", 1].timed_out


@pytest.mark.case("A21")
@pytest.mark.cluster(nodes=3)
def test_a_stop_that_fails_ends_its_node_before_the_service_starts_elsewhere(cluster: ScenarioCluster) -> None:
    victim = cluster.nodes[1]
    cluster.services.wait_ready()
    cluster.services.add(
        {
            "name": "stubborn",
            "node_preferences": [1],
            "start_command": ["/bin/true"],
            "stop_command": ["/bin/sh", "-c", 'test "$HIL_NODE" != 1'],
        }
    )
    cluster.services.wait_registered("stubborn", on=victim)
    before = cluster.catch_up().n
    with cluster.expecting_panic(victim, because="the stop command of stubborn has failed"):
        cluster.services.move("stubborn", 2)
    cluster.services.wait_registered("stubborn", on=2)
    events = list(cluster.events(since=before))
    (start,) = (event for event in events if (event["kind"], event.get("state")) == ("service", "starting"))
    # By the line of who decided: what several nodes and their machines told may change places in the stream.
    views = [event for event in events if (event["kind"], event.get("node")) == ("membership", start["node"])]
    seen = [view["nodes"][str(victim.id)]["state"] for view in views if view["n"] < start["n"]]
    assert seen[-1] in {"forced-leaving", "inactive"}
