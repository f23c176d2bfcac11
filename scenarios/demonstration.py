"""The demo: services and a load, all power off in one instant, all on, and nothing acknowledged is lost (A25).

Who was back when is told as properties of the test, in JUnit XML too; `hil demo power-failure` draws it.
"""

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]


@pytest.mark.case("A25")
@pytest.mark.cluster(nodes=3)
def test_a_whole_cluster_loses_power_and_comes_back_with_all_that_it_had(
    cluster: ScenarioCluster, request: pytest.FixtureRequest
) -> None:
    with cluster.workload("files", "locks", "services") as load:
        load.wait_progress(10)
        before = load.acknowledged()

        done = cluster.power_off()
        off_s = cluster.clock
        cluster.power_on()
        cluster.expect_members(cluster.nodes)
        request.node.user_properties.append(("seconds until all have joined", f"{cluster.clock - off_s:.1f}"))
        request.node.user_properties.append(("seconds between the first and the last that went off", done["spread_s"]))

        load.resume()
        load.wait_progress()
        found = load.check()
        request.node.user_properties.append(("acknowledged before, looked at after", f"{before}, {found}"))
