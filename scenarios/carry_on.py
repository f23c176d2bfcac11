"""Programs and services carry on for as long as a plan of faults lasts: `hil run carry_on --faults links --seed 7`.

Whatever strikes, in the end all nodes have joined again, nothing that was acknowledged is lost, and each service runs
once. What must hold at every moment meanwhile is claimed by the checkers of every run. Without a plan it is a quiet
half minute.
"""

from __future__ import annotations

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

QUIET_S = 5.0
BACK_S_MAX = 240.0
"""Nodes that were struck last boot one after the other, and services wait for them."""


@pytest.mark.case("A23")
@pytest.mark.cluster(nodes=3)
def test_work_goes_on_through_all_faults_and_nothing_is_lost(cluster: ScenarioCluster) -> None:  # S10.7
    with cluster.workload("files", "locks", "services") as load:
        load.wait_progress()
        cluster.wait_faults_over()
        cluster.pass_time(QUIET_S)
        cluster.wait_joined(timeout=BACK_S_MAX)
        load.resume()
        load.wait_progress()
        load.check()
