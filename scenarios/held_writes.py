"""Writes that wait in the disk's queue when their node is forced out, or boots again, never land (A3, A4).

The fence ends them (PREEMPT AND ABORT, spec S6.2); a node that boots again ends what its earlier life has left before
it reads anything (S6.3). That PREEMPT alone would not do is shown by a mutation (docs/mutations.md).
"""

import pytest

from hil.checkers import fence
from hil.client import Node
from hil.scenario import ScenarioCluster
from hil.view import View

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

HELD_S = 30.0


def wait_registered(cluster: ScenarioCluster, node: Node, since: int) -> None:
    """Until a life of that node that began after event ``since`` has its key on the disk."""

    def why_not(_: View) -> str | None:
        told = [event for event in cluster.events(since=since) if event.get("node") == node.id]
        return None if any(event["kind"] == "registered" for event in told) else "its next life has not registered"

    cluster.wait(why_not, about=f"node {node.id} registers")


@pytest.mark.case("A3")
@pytest.mark.cluster(nodes=3)
def test_the_queued_writes_of_a_victim_are_aborted_before_anybody_recovers(cluster: ScenarioCluster) -> None:
    with cluster.workload("files") as load:
        load.wait_progress()
        victim = cluster.any_other(*cluster.in_role("master"))
        with cluster.expecting_panic(victim):
            fault = cluster.disk.inject("delay-writes", victim)
            held_from = cluster.disk.status()["commands"]
            fault.wait_struck()
        cluster.expect_members(node for node in cluster.nodes if node is not victim)
        cluster.pass_time(HELD_S)
        fault.heal()

        held = [entry for entry in cluster.disk.ledger() if entry.order >= held_from and entry.writes]
        held = [entry for entry in held if entry.nexus.number == victim.id]
        assert held, "nothing was held that could have landed"
        assert not any(entry.changed for entry in held)
        cluster.expect_no_stale_writes()
        load.wait_progress()


@pytest.mark.case("A4")
@pytest.mark.cluster(nodes=3)
def test_a_node_that_is_back_at_once_has_ended_what_its_earlier_life_left(cluster: ScenarioCluster) -> None:
    with cluster.workload("files") as load:
        load.wait_progress()
        victim = cluster.any_other(*cluster.in_role("master"))
        before = cluster.catch_up().n

        fault = cluster.disk.inject("delay-writes", victim)
        held_from = cluster.disk.status()["commands"]
        fault.wait_struck()
        cluster.power_cycle([victim])
        wait_registered(cluster, victim, before)
        held_to = cluster.disk.status()["commands"]
        fault.heal()
        cluster.wait_joined()
        load.resume()
        load.wait_progress()

        held = [entry for entry in cluster.disk.ledger() if held_from <= entry.order < held_to and entry.writes]
        held = [entry for entry in held if entry.nexus.number == victim.id]
        assert held, "nothing was held that could have landed"
        assert not any(entry.changed for entry in held)
        fence.check(cluster.disk.records())
