"""Holders of a lock die one after the other while others wait, in circles too: each waiter gets it in the end (A24).

A value that its last writer has taken with it is told as lost, and never is an older one taken for the newest; of two
programs that wait for each other one is told so (spec S7.1). The load has all of that, and its check judges it.
"""

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

DEATHS = 3


@pytest.mark.case("A24", "A13")
@pytest.mark.cluster(nodes=3)
def test_whoever_waits_for_a_dead_holder_gets_the_lock_after_the_recovery(cluster: ScenarioCluster) -> None:
    with cluster.workload("locks", "files") as load:
        for _ in range(DEATHS):
            load.wait_progress(10)
            holder = cluster.holder_of("queue")
            cluster.power_off([holder])
            cluster.expect_members(node for node in cluster.nodes if node is not holder)
            load.wait_progress()
            load.check()
            cluster.power_on([holder])
            cluster.wait_joined()
            load.resume()
