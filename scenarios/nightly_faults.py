"""The nightly run: faults drawn from a seed strike a cluster that works, and nothing is lost (A23).

Each test is one night of its own, and with ``--repeat 100`` a hundred of them.
"""

import random

import pytest

from hil.client import Node
from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

FAULTS = ("power cycle", "power failure", "freeze", "short freeze", "cut", "leave", "disk")
STRIKES = 6


def strike(cluster: ScenarioCluster, fault: str, victim: Node) -> None:
    """Do it, see what must come of it, undo it; all machines are on then."""
    death_s = cluster.settings["settings"]["timing"]["death_ms"] / 1000
    others = [node for node in cluster.nodes if node is not victim]
    if fault == "power cycle":
        cluster.power_cycle([victim])
    elif fault == "power failure":
        cluster.power_cycle()
    elif fault == "freeze":
        cluster.freeze(victim)
        cluster.expect_members(others)
        with cluster.expecting_panic(victim, because="forced out"):
            cluster.thaw(victim)
        cluster.power_cycle([victim])
    elif fault == "short freeze":
        cluster.freeze(victim, "process")
        cluster.pass_time(death_s / 4)
        cluster.thaw(victim)
    elif fault == "cut":
        with cluster.expecting_panic(victim, because="forced out"):
            cluster.split(others, [victim])
        cluster.expect_members(others)
        cluster.heal_link(victim)
        cluster.power_cycle([victim])
    elif fault == "leave":
        cluster.shutdown(victim)
        cluster.wait_off(victim)
        cluster.power_on([victim])
    else:
        with cluster.disk.inject("slow", victim, ms=20, spread="exponential"):
            cluster.pass_time(2 * death_s)


@pytest.mark.case("A23")
@pytest.mark.parametrize("night", range(2))
@pytest.mark.cluster(nodes=3)
def test_whatever_strikes_nothing_that_was_acknowledged_is_lost(cluster: ScenarioCluster, night: int) -> None:
    draw = random.Random(night)
    with cluster.workload("files", "locks", "volumes", "services") as load:
        for _ in range(STRIKES):
            load.wait_progress()
            role = draw.choice(["master", "any_other", "any", "runs(load-0)"])
            victim = draw.choice(cluster.in_role(role))
            strike(cluster, draw.choice(FAULTS), victim)
            cluster.wait_joined()
            load.resume()
            load.wait_progress()
            load.check()
