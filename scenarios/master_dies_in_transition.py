"""The master dies at one step after the other of a join, a leave and a forced leave: the next one finishes it (A11).

A step is a change of the view that the members publish: a level, a barrier, a new epoch (spec S3.3). What every level
was told, and in which order, is judged by the checkers afterwards.
"""

import pytest

from hil.client import Node
from hil.scenario import ScenarioCluster
from hil.view import View

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

STEPS = 8


def begin(cluster: ScenarioCluster, transition: str, node: Node) -> None:
    """It comes, goes, or dies."""
    if transition == "join":
        cluster.power_cycle([node])
    elif transition == "leave":
        cluster.shutdown(node)
    else:
        cluster.power_off([node])


def wait_steps(cluster: ScenarioCluster, count: int) -> None:
    """Until the cluster has taken so many."""
    seen: set[tuple[int, int]] = set()

    def why_not(view: View) -> str | None:
        seen.add((view.newest.epoch, view.newest.step))
        return None if len(seen) > count else f"{len(seen) - 1} of {count} steps"

    cluster.wait(why_not, about="the transition goes on")


@pytest.mark.case("A11")
@pytest.mark.parametrize("transition", ["join", "leave", "forced-leave"])
@pytest.mark.cluster(nodes=3)
def test_the_next_master_finishes_what_the_dead_one_began(cluster: ScenarioCluster, transition: str) -> None:
    for steps in range(1, STEPS + 1):
        (master,) = cluster.in_role("master")
        moves = cluster.any_other(master)
        (stays,) = (node for node in cluster.nodes if node not in (master, moves))
        begin(cluster, transition, moves)
        wait_steps(cluster, steps)
        cluster.power_off([master])
        if transition == "leave":
            cluster.wait_off(moves)
        if transition != "join":
            cluster.expect_members([stays])
        cluster.power_on()
        cluster.wait_joined()
