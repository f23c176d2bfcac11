"""A member that had been given an epoch began it while the master of the epoch before lived, and went on with that.

What that master committed until it saw the new epoch was lost, or landed on newer memberships (S3.2, S3.3). Whoever
takes the office from a master that lives fences it first.
Found at 9f601d7, fixed in c2e4176.

The very run again: hil sim --play tests/regressions/living_master.py
On a cluster:       hil run tests/regressions/living_master.py
"""

import pytest

from hil.checkers import level_order
from hil.play import Fault, Plan, play
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

SIMULATED: dict[str, object] = {
    "seed": 131,
    "latency_us_max": 3000,
    "slow_share": 800,
    "slow_ms_max": 200,
    "programs": 1,
    "program_share": 50,
}

PLAN = Plan(
    until_ms=6000,
    faults=(
        Fault("cut-node", 2000, for_ms=3000, node=0),
        Fault("delay-writes", 2900, for_ms=700, node=2),
        Fault("cut-node", 4458, for_ms=2000, node=2),
        Fault("delay-writes", 5100, for_ms=629, node=1),
    ),
)

PANICS = 2
"""So many lives end by it."""


@pytest.mark.simulation(latency_us_max=3000, slow_share=800, slow_ms_max=200, programs=1, program_share=50)
@pytest.mark.cluster(nodes=3, joined=False)
def test_living_master(cluster: ScenarioCluster) -> None:
    before = cluster.view.n
    play(cluster, PLAN)
    cluster.wait_joined()
    assert len(cluster.panics.panics) == PANICS
    level_order.check(cluster.events(since=before))
