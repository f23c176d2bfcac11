"""One node loses power: the others force it out and recover; it boots again and joins as a new incarnation.

The forced leave goes through the levels bottom-up on the survivors, who stay members all the time. The node's next life
may join only after the end of its last one has been processed everywhere (spec S4.10).
"""

import pytest

from hil.checkers import level_order
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab


@pytest.mark.cluster(nodes=3)
def test_a_node_without_power_is_forced_out_and_joins_again(cluster: ScenarioCluster) -> None:
    master = cluster.master
    assert master is not None
    victim = cluster.any_other(master)
    survivors = [node for node in cluster.nodes if node is not victim]
    incarnation, before = victim.view.incarnation, cluster.view.n

    cluster.power_off([victim])
    cluster.wait_state(victim, "inactive")

    after_death = list(cluster.events(since=before))
    assert level_order.completed_levels(after_death, victim.id, "forced-leave") != []
    assert {node.view.state for node in survivors} == {"joined"}
    assert cluster.master is master, "the master lives, and is no longer the master"

    cluster.power_on([victim])
    cluster.wait_joined()

    assert victim.view.incarnation > incarnation
    events = list(cluster.events(since=before))
    changes = [event for event in events if event["kind"] == "state" and event["node"] != victim.id]
    assert changes == [], "a survivor's own state changed"
    level_order.check(events)
