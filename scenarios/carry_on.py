"""A service is kept for as long as a plan of faults lasts: `hil run carry_on --faults links --seed 7`.

Whatever strikes, in the end all nodes have joined again and the service is registered, once. What must hold at every
moment meanwhile is claimed by the checkers of every run. Without a plan it is a quiet half minute.
"""

from __future__ import annotations

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

QUIET_S = 5.0
BACK_S_MAX = 240.0
"""Services that were struck several times are in quarantine's care, and nodes boot one after the other."""


@pytest.mark.cluster(nodes=3)
def test_a_service_is_kept_through_all_faults(cluster: ScenarioCluster) -> None:  # S9.1, S10.7
    cluster.services.wait_ready()
    commands = {key: ["/bin/true"] for key in ("start_command", "stop_command", "recovery_command")}
    cluster.services.add({"name": "kept", "node_preferences": [0, 1, 2], **commands})
    cluster.services.wait_registered("kept")

    cluster.wait_faults_over()
    cluster.pass_time(QUIET_S)

    cluster.wait_joined(timeout=BACK_S_MAX)
    cluster.services.wait_registered("kept", timeout=BACK_S_MAX)
    cluster.expect_service("kept")
