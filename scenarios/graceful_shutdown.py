"""Graceful shutdown: one node leaves the cluster level by level, top-down, and switches itself off.

It is not a failure: nobody is forced out, nobody panics, and the others stay members throughout.
"""

import pytest

from hil.checkers import level_order
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab


@pytest.mark.cluster(nodes=3)
def test_a_node_that_is_shut_down_leaves_top_down_and_switches_itself_off(cluster: ScenarioCluster) -> None:
    master = cluster.master
    assert master is not None
    leaver = cluster.any_other(master)
    others = [node for node in cluster.nodes if node is not leaver]
    levels_joined = sorted(leaver.view.levels)
    before = cluster.view.n

    cluster.shutdown(leaver)
    cluster.wait_off(leaver)
    cluster.wait_state(leaver, "inactive")

    events = list(cluster.events(since=before))
    left = level_order.completed_levels(events, leaver.id, "leave")
    assert left == sorted(left, reverse=True), "the levels were not left top-down"
    assert set(left) == set(levels_joined), "not every level was left"
    level_order.check(events)

    assert level_order.completed_levels(events, leaver.id, "forced-leave") == []
    assert [event["node"] for event in events if event["kind"] == "left"] == [leaver.id]
    (stop,) = (event for event in events if event["kind"] == "machine-stopped")
    assert (stop["node"], stop["detail"]) == (leaver.id, "shutdown"), "the machine did not switch itself off"
    assert {node.view.state for node in others} == {"joined"}
    assert cluster.master is master
