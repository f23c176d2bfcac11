"""A node that had formed the cluster, and had been told that its commit failed, fenced itself for ever.

It was a member of the epoch of which it was the master itself, so the master that it was to replace was this node, and
a fence of oneself is never verified: nobody joined (S3.3). Nothing but a slow disk and one torn write is needed.
Found at ebc58e4, fixed in acb68ad.

The very run again: hil sim --play tests/regressions/own_office.py
On a cluster:       hil run tests/regressions/own_office.py
"""

import pytest

from hil.checkers import level_order
from hil.play import Plan, play
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

SIMULATED: dict[str, object] = {
    "seed": 97,
    "nodes": 2,
    "slow_share": 800,
    "slow_ms_max": 200,
    "torn_share": 20,
}

PLAN = Plan(until_ms=2000, faults=())

PANICS = 0
"""So many lives end by it."""


@pytest.mark.simulation(slow_share=800, slow_ms_max=200, torn_share=20)
@pytest.mark.cluster(nodes=2, joined=False)
def test_own_office(cluster: ScenarioCluster) -> None:
    before = cluster.view.n
    play(cluster, PLAN)
    cluster.wait_joined()
    assert len(cluster.panics.panics) == PANICS
    level_order.check(cluster.events(since=before))
