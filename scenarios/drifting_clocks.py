"""The clock of one node runs 10 % fast and that of another 10 % slow: nobody is forced out, nothing is lost (A19)."""

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

DRIFT_PPM = 100_000
DEATHS = 6
"""How many times the time of a death it is watched."""


@pytest.mark.case("A19")
@pytest.mark.cluster(nodes=3)
def test_clocks_that_run_apart_hurt_nobody(cluster: ScenarioCluster) -> None:
    epoch, death_s = cluster.view.epoch, cluster.settings["settings"]["timing"]["death_ms"] / 1000
    fast, slow, _ = cluster.nodes
    with (
        cluster.workload("files", "locks") as load,
        cluster.inject("clock-drift", fast, ppm=DRIFT_PPM),
        cluster.inject("clock-drift", slow, ppm=-DRIFT_PPM),
    ):
        cluster.pass_time(DEATHS * death_s)
        load.wait_progress()
    cluster.expect_members(cluster.nodes)
    assert cluster.view.epoch == epoch
