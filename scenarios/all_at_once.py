"""All nodes get power in the same second, with none, one, two... of them missing: one master, nobody hurt (A15).

With as many nodes as ``--nodes`` says: in the simulator 32 take seconds.
"""

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]


@pytest.mark.case("A15")
@pytest.mark.cluster(nodes=4)
def test_whoever_boots_forms_the_cluster_and_who_is_missing_comes_later(cluster: ScenarioCluster) -> None:
    nodes = len(cluster.nodes)
    for missing in sorted({0, 1, nodes // 2, nodes - 1}):
        cluster.power_off()
        before = cluster.catch_up().n
        present, late = cluster.nodes[missing:], cluster.nodes[:missing]
        cluster.power_on(present)
        cluster.expect_members(present)
        if late:
            cluster.power_on(late)
            cluster.wait_joined()

        masters: dict[int, set[int]] = {}
        for event in cluster.events(since=before):
            if event["kind"] == "elected":
                masters.setdefault(event["epoch"], set()).add(event["node"])
        assert masters
        assert all(len(elected) == 1 for elected in masters.values()), f"two masters of one epoch: {masters}"
    cluster.check_panics()
