"""A subsystem never acknowledges its level, on a plain node and on the master: its node is forced out (A14).

The cluster goes on: a node that leaves meanwhile is not held up for longer than that takes (spec S4.13).
"""

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]


@pytest.mark.case("A14")
@pytest.mark.parametrize("whose", ["any_other", "master"])
@pytest.mark.cluster(nodes=3)
def test_a_node_whose_subsystem_is_mute_is_forced_out(cluster: ScenarioCluster, whose: str) -> None:
    victim = cluster.in_role(whose)[0]
    leaver, stays = (node for node in cluster.nodes if node is not victim)
    with cluster.expecting_panic(victim, because="subsystem mute"):
        fault = cluster.inject("subsystem-hang", victim)
        cluster.shutdown(leaver)
    cluster.wait_off(leaver)  # its leave has come to its end all the same
    cluster.expect_members([stays])
    fault.heal()
