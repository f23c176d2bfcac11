"""One direction of one link is lost, then one link while all others hear both: one node goes, once (A7).

A link that is broken in one direction is a broken link. The largest group in which everybody hears everybody goes on
(spec S5.2): one fault, one change of the membership, and then quiet.
"""

import pytest

from hil.client import Node
from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

QUIET_S = 60.0


def costs_only(cluster: ScenarioCluster, victim: Node, epoch: int) -> None:
    """It is forced out in the next epoch, and then nothing happens any more."""
    cluster.expect_members(node for node in cluster.nodes if node is not victim)
    cluster.wait_crashed(victim)
    before = cluster.catch_up().n
    cluster.pass_time(QUIET_S)
    assert cluster.view.epoch == epoch + 1
    news = {"silent", "bid", "elected", "panic", "state"}
    assert [event for event in cluster.events(since=before) if event["kind"] in news] == []


@pytest.mark.case("A7")
@pytest.mark.parametrize("direction", ["in", "out"])
@pytest.mark.cluster(nodes=3)
def test_one_direction_between_the_master_and_another_costs_the_other(cluster: ScenarioCluster, direction: str) -> None:
    (master,) = cluster.in_role("master")
    victim, epoch = cluster.any_other(master), cluster.view.epoch
    cluster.expect_panic(victim, because="forced out")
    cluster.cut_link(master, "silent", direction, [victim])
    costs_only(cluster, victim, epoch)


@pytest.mark.case("A7")
@pytest.mark.cluster(nodes=4)
def test_of_two_that_lose_each_other_while_all_others_hear_both_one_goes(cluster: ScenarioCluster) -> None:
    (master,) = cluster.in_role("master")
    *_, one, other = (node for node in cluster.nodes if node is not master)
    epoch = cluster.view.epoch
    cluster.expect_panic(other, because="forced out")
    cluster.cut_link(one, "silent", others=[other])
    costs_only(cluster, other, epoch)
