"""A node that dies again and again gets no services any more, and those of the others do not pay for it (spec S9, A20).

After three forced leaves it is in quarantine. It is let out when it has been up for ten minutes; a transfer that costs
nothing does not bring a service back to it before.
"""

from __future__ import annotations

from typing import Any

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

COMMANDS = {"start_command": ["/bin/true"], "stop_command": ["/bin/true"], "recovery_command": ["/bin/true"]}
DEATHS = 10
QUARANTINE_DEATHS = 3
ITS_OWN: dict[str, Any] = {"name": "its-own", "node_preferences": [2, 1], "transfer_cost": "free", **COMMANDS}
OF_ANOTHER: dict[str, Any] = {"name": "of-another", "node_preferences": [1], **COMMANDS}


@pytest.mark.case("A20")
@pytest.mark.cluster(nodes=3)
def test_a_node_that_dies_ten_times_is_in_quarantine(cluster: ScenarioCluster) -> None:  # S9.2
    dies = cluster.nodes[2]
    cluster.services.wait_ready()
    cluster.services.add(ITS_OWN, OF_ANOTHER)
    cluster.services.wait_registered("its-own", on=2)
    cluster.services.wait_registered("of-another", on=1)
    before = cluster.catch_up().n

    for death in range(1, DEATHS + 1):
        cluster.power_cycle([dies])
        cluster.wait_joined()
        cluster.services.wait_ready([dies])
        cluster.services.wait_registered("its-own", on=2 if death < QUARANTINE_DEATHS else 1)

    told = cluster.services.list()["nodes"][2]
    assert told["quarantined"]
    assert told["failures"] == DEATHS
    why = cluster.services.show("its-own")["explain"][2]["why"]
    assert f"in quarantine, forced out {DEATHS} times lately: taken only if there is no other" in why
    starts = [step.node for step in cluster.services.steps("its-own", before) if step.state == "starting"]
    assert len([node for node in starts if node == 2]) == QUARANTINE_DEATHS - 1
    assert cluster.services.steps("of-another", before) == [], "it has paid for the deaths of another node"
