"""A life of which only a damaged heartbeat is left: the next one took its number again.

It was never admitted, so no record of the membership names it; but it had registered a key, which the next life did
not look at (S2.6, A17). A power failure in the middle of a write is what only the simulator can do.
Found at fb1f234, fixed in 3b7102d.

The very run again: hil sim --play tests/regressions/damaged_life.py
On a cluster:       hil run tests/regressions/damaged_life.py
"""

import pytest

from hil.checkers import level_order
from hil.play import Fault, Plan, play
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

SIMULATED: dict[str, object] = {
    "seed": 8,
    "nodes": 2,
    "torn_share": 1,
}

PLAN = Plan(
    until_ms=4000,
    faults=(
        Fault("cut-node", 0, for_ms=4000, node=1),
        Fault("doom", 3375, for_ms=1000, node=1, effects=0),
    ),
)

PANICS = 0
"""So many lives end by it."""


@pytest.mark.simulation(torn_share=1)
@pytest.mark.cluster(nodes=2, joined=False)
def test_damaged_life(cluster: ScenarioCluster) -> None:
    before = cluster.view.n
    play(cluster, PLAN)
    cluster.wait_joined()
    assert len(cluster.panics.panics) == PANICS
    level_order.check(cluster.events(since=before))
