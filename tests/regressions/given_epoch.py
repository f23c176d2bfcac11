"""A node that was given an epoch by another one did not take it, and was fenced for it.

Of two that bid at once one gave way just before the other took over its value. It saw no turn of its own; after
death_ms the other went past the epoch and fenced its owner: a panic for nothing (S3.2, S6.1).
Found at 19ef958, fixed in 9c95585.

The very run again: hil sim --play tests/regressions/given_epoch.py
On a cluster:       hil run tests/regressions/given_epoch.py
"""

import pytest

from hil.checkers import level_order
from hil.play import Fault, Plan, play
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

SIMULATED: dict[str, object] = {
    "preset": "lite",
    "seed": 1,
    "nodes": 2,
    "slow_share": 100,
    "slow_ms_max": 200,
}

PLAN = Plan(
    until_ms=3400,
    faults=(
        Fault("power-failure", 2750, for_ms=0, nodes=(1,)),
        Fault("power-failure", 3100, for_ms=0, nodes=(0,)),
    ),
)

PANICS = 0
"""So many lives end by it."""


@pytest.mark.simulation(slow_share=100, slow_ms_max=200)
@pytest.mark.cluster(nodes=2, joined=False)
def test_given_epoch(cluster: ScenarioCluster) -> None:
    before = cluster.view.n
    play(cluster, PLAN)
    cluster.wait_joined()
    assert len(cluster.panics.panics) == PANICS
    level_order.check(cluster.events(since=before))
