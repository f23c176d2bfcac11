"""A group of services is moved while its target dies, and while its source stands still (A22).

At no moment there are two instances, children stop first and start last, and what is recovered is recovered once
(spec S9.4 to S9.6). The checkers see to the first; the rest is told by the steps and the commands.
"""

from collections import Counter

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

COMMANDS = {
    "start_command": ["/bin/sleep", "2"],
    "stop_command": ["/bin/sleep", "0.5"],
    "recovery_command": ["/bin/true"],
}


def add_group(cluster: ScenarioCluster) -> None:
    """A parent and a child, on node 0."""
    cluster.services.wait_ready()
    parent = {"name": "parent", "node_preferences": [0, 1, 2], **COMMANDS}
    cluster.services.add(parent, {"name": "child", "parent": "parent", **COMMANDS})
    for name in ("parent", "child"):
        cluster.expect_service(name, on=cluster.nodes[0], within=cluster.default_timeout_s)


def check_order(cluster: ScenarioCluster, since: int) -> None:
    """Each start of the child follows one of the parent on that node; each registration is recovered once at most."""
    parent_on = None
    for step in cluster.services.steps(since=since):
        if (step.service, step.state) == ("parent", "registered"):
            parent_on = step.node
        elif (step.service, step.state) == ("child", "starting"):
            assert step.node == parent_on, "the child started without its parent"
    ended = [one for one in cluster.services.commands(since=since) if one["action"] == "recovery"]
    done = Counter((one["service"], one["registration"]) for one in ended if one.get("status") == 0)
    assert all(times == 1 for times in done.values()), f"recovered more than once: {done}"


@pytest.mark.case("A22")
@pytest.mark.parametrize("state", ["stopping", "starting"])
@pytest.mark.cluster(nodes=3)
def test_the_target_dies_under_way_and_the_group_comes_up_on_another_node(cluster: ScenarioCluster, state: str) -> None:
    add_group(cluster)
    before, target = cluster.catch_up().n, cluster.nodes[1]
    cluster.services.move("parent", target)
    cluster.services.wait_state("parent", state)
    cluster.power_off([target])
    cluster.expect_members([cluster.nodes[0], cluster.nodes[2]])
    for name in ("parent", "child"):
        cluster.services.wait_registered(name)
    assert cluster.runs("child") is cluster.runs("parent")
    assert cluster.runs("parent") is not target
    for name in ("parent", "child"):
        cluster.expect_service(name)
    check_order(cluster, before)


@pytest.mark.case("A22")
@pytest.mark.cluster(nodes=3)
def test_the_source_stands_still_and_the_group_is_recovered_once_elsewhere(cluster: ScenarioCluster) -> None:
    add_group(cluster)
    before, source = cluster.catch_up().n, cluster.nodes[0]
    number = cluster.view.services["child"].newest_number
    cluster.freeze(source)
    cluster.services.wait_transferred("child", number)
    with cluster.expecting_panic(source, because="forced out"):
        cluster.thaw(source)
    for name in ("parent", "child"):
        cluster.expect_service(name)
    assert cluster.runs("child") is cluster.runs("parent")
    assert cluster.runs("parent") is not source
    recovered = {one["service"] for one in cluster.services.commands(since=before) if one["action"] == "recovery"}
    assert "parent" in recovered
    check_order(cluster, before)
