"""A member was forced out because it had lost a dead node a little sooner than the others.

When one member had been missed for long enough, anybody could be left out of the group, also for a loss of a moment
ago (S5.2).
Found at 9c95585, fixed in d063146.

The very run again: hil sim --play tests/regressions/innocent_third.py
On a cluster:       hil run tests/regressions/innocent_third.py
"""

import pytest

from hil.checkers import level_order
from hil.play import Fault, Plan, play
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

SIMULATED: dict[str, object] = {}

PLAN = Plan(
    until_ms=3000,
    faults=(
        Fault("crash", 1000, for_ms=2000, node=0),
        Fault("cut-one-way", 1600, for_ms=1000, node=1, others=(2,), direction="out"),
    ),
)

PANICS = 0
"""So many lives end by it."""


@pytest.mark.cluster(nodes=3, joined=False)
def test_innocent_third(cluster: ScenarioCluster) -> None:
    before = cluster.view.n
    play(cluster, PLAN)
    cluster.wait_joined()
    assert len(cluster.panics.panics) == PANICS
    level_order.check(cluster.events(since=before))
