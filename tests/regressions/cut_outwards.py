"""A link that was cut from the master outwards was never resolved.

The master did not count its own broken links of which the other end hears nothing; the other end waits for the master
(S5.2, A7).
Found at 9c95585, fixed in d063146.

The very run again: hil sim --play tests/regressions/cut_outwards.py
On a cluster:       hil run tests/regressions/cut_outwards.py
"""

import pytest

from hil.checkers import level_order
from hil.play import Fault, Plan, play
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

SIMULATED: dict[str, object] = {
    "nodes": 2,
}

PLAN = Plan(
    until_ms=3000,
    faults=(Fault("cut-one-way", 1000, for_ms=2000, node=0, others=(1,), direction="out"),),
)

PANICS = 1
"""So many lives end by it."""


@pytest.mark.cluster(nodes=2, joined=False)
def test_cut_outwards(cluster: ScenarioCluster) -> None:
    before = cluster.view.n
    play(cluster, PLAN)
    cluster.wait_joined()
    assert len(cluster.panics.panics) == PANICS
    level_order.check(cluster.events(since=before))
