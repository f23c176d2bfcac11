"""The master dies at one step after the other of a join, a leave and a forced leave: the next one finishes it (A11).

A step is a change of the view that the members publish: a level, a barrier, a new epoch (spec S3.3). What every level
was told, and in which order, is judged by the checkers afterwards.
"""

import pytest

from hil.client import Node
from hil.scenario import ScenarioCluster
from hil.view import View

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

STEPS_MAX = 30
"""Of a transition that does not end, sooner or later."""


def begin(cluster: ScenarioCluster, transition: str, node: Node) -> None:
    """It comes, goes, or dies."""
    if transition == "join":
        cluster.power_cycle([node])
    elif transition == "leave":
        cluster.shutdown(node)
    else:
        cluster.power_off([node])


def wait_steps(cluster: ScenarioCluster, transition: str, node: Node, count: int) -> bool:
    """Until the cluster has taken so many steps; False if the transition is over before."""
    seen: set[tuple[int, int]] = set()
    everybody = [one.id for one in cluster.nodes]

    def is_over(view: View) -> bool:
        if transition == "join":
            return view.why_not_joined(everybody) is None
        return len(seen) > 1 and view.newest.nodes.get(node.id, ("inactive", 0))[0] == "inactive"

    def why_not(view: View) -> str | None:
        seen.add((view.newest.epoch, view.newest.step))
        return None if len(seen) > count or is_over(view) else f"{len(seen) - 1} of {count} steps"

    cluster.wait(why_not, about=f"the {transition} goes on")
    return len(seen) > count


@pytest.mark.case("A11")
@pytest.mark.parametrize("transition", ["join", "leave", "forced-leave"])
@pytest.mark.cluster(nodes=3)
def test_the_next_master_finishes_what_the_dead_one_began(cluster: ScenarioCluster, transition: str) -> None:
    for steps in range(1, STEPS_MAX):
        (master,) = cluster.in_role("master")
        moves = cluster.any_other(master)
        (stays,) = (node for node in cluster.nodes if node not in (master, moves))
        begin(cluster, transition, moves)
        under_way = wait_steps(cluster, transition, moves, steps)
        cluster.power_off([master])
        if transition == "leave":
            cluster.wait_off(moves)
        if transition != "join":
            cluster.expect_members([stays])
        cluster.power_on()
        cluster.wait_joined()
        if not under_way:
            break
    assert steps > 3, "a transition of fewer steps has no levels"
