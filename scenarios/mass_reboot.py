"""Power failure and mass reboot: all nodes lose power at the same instant, boot together and join again.

Nobody is left who could force anybody out: the first nodes that boot find an old membership on the disk, none of
whose members is alive. They agree on one of them to form the cluster anew, it ends what the old one left open, and the
others join it. Nothing may panic, and every node must come back as a new incarnation.
"""

import pytest

from hil.checkers import level_order
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab


@pytest.mark.case("A15")
@pytest.mark.cluster(nodes=3)
def test_all_nodes_lose_power_at_once_and_join_again(cluster: ScenarioCluster) -> None:
    incarnations = {node.id: node.view.incarnation for node in cluster.nodes}
    epoch, before = cluster.view.epoch, cluster.view.n

    cluster.power_off()
    assert [node.view.power for node in cluster.nodes] == ["off"] * len(cluster.nodes)
    cluster.power_on()
    view = cluster.wait_joined()

    assert view.epoch > epoch
    assert view.newest.joined() == [node.id for node in cluster.nodes]
    for node in cluster.nodes:
        assert node.view.incarnation > incarnations[node.id], f"node {node.id} came back as the same incarnation"
        assert node.view.membership.master == view.newest.master, f"node {node.id} has another master"
    level_order.check(cluster.events(since=before))
