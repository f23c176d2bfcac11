"""A commit that failed had landed: under its number another view was written.

The master could not tell whether its step had reached the disk, made the step anew from what it had heard meanwhile,
and two different views had one epoch and step (S2.6).
Found at aa91b42, fixed in fb1f234.

The very run again: hil sim --play tests/regressions/failed_commit.py
On a cluster:       hil run tests/regressions/failed_commit.py
"""

import pytest

from hil.checkers import level_order
from hil.play import Fault, Plan, play
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

SIMULATED: dict[str, object] = {"seed": 58}

PLAN = Plan(
    until_ms=4490,
    faults=(
        Fault("disk-errors", 0, for_ms=5390, node=0, share=300),
        Fault("leave", 4050, node=1),
        Fault("leave", 4390, node=2),
    ),
)

PANICS = 0
"""So many lives end by it."""


@pytest.mark.cluster(nodes=3, joined=False)
def test_failed_commit(cluster: ScenarioCluster) -> None:
    before = cluster.view.n
    play(cluster, PLAN)
    cluster.wait_joined()
    assert len(cluster.panics.panics) == PANICS
    level_order.check(cluster.events(since=before))
