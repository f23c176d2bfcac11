"""Last night's failure, again: a plan of faults is played twice, and both times the same nodes are hurt (A23).

The plan is what `hil sim --shrink SEED --write FILE.py` writes (docs/simulator.md): faults with their moments, by role
where it mattered who it was.
"""

import pytest

from hil.play import Fault, Plan, play
from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

PLAN = Plan(
    until_ms=40_000,
    faults=(
        Fault("cut-node", 1_000, 14_000, node="master"),
        Fault("crash", 22_000, 0, node="other"),
    ),
)


@pytest.mark.case("A23")
@pytest.mark.cluster(nodes=3)
def test_the_same_plan_strikes_the_same_nodes_again(cluster: ScenarioCluster) -> None:
    hurt = []
    for _ in range(2):
        (master,) = cluster.in_role("master")
        before = cluster.catch_up().n
        assert play(cluster, PLAN) == [], "a fault has found nobody to strike"
        cluster.wait_joined()
        events = list(cluster.events(since=before))
        panics = {event["node"] for event in events if event["kind"] == "panic"}
        stopped = [event["node"] for event in events if event["kind"] == "machine-stopped"]
        assert panics == {master.id}, "the master was cut off, and is the one that panics"
        hurt.append((len(panics), len(set(stopped) - panics)))
    assert hurt[0] == hurt[1]
