"""The interconnect splits 1:1, 2:2 and 3:2: exactly one side goes on, and no service runs twice (A6).

The largest group survives, of two equal ones that with the master (spec S5.2); the others panic.
"""

from collections.abc import Sequence

import pytest

from hil.client import Node
from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]


def one_side_goes_on(cluster: ScenarioCluster, winners: Sequence[Node], losers: Sequence[Node]) -> None:
    """In one change of the membership; afterwards the losers come back."""
    with cluster.workload("files", "services") as load:
        load.wait_progress()
        epoch = cluster.view.epoch
        for loser in losers:
            cluster.expect_panic(loser, because="forced out")
        cluster.split(winners, losers)
        cluster.expect_members(winners)
        for loser in losers:
            cluster.wait_crashed(loser)
        assert cluster.view.epoch == epoch + 1
        load.wait_progress()
        load.check()

        for loser in losers:
            cluster.heal_link(loser)
        cluster.power_cycle(losers)
        cluster.wait_joined()
    cluster.expect_no_stale_writes()


@pytest.mark.case("A6")
@pytest.mark.cluster(nodes=2)
def test_of_two_nodes_the_master_goes_on(cluster: ScenarioCluster) -> None:
    (master,) = cluster.in_role("master")
    one_side_goes_on(cluster, [master], [cluster.any_other(master)])


@pytest.mark.case("A6")
@pytest.mark.cluster(nodes=4)
def test_of_two_halves_that_of_the_master_goes_on(cluster: ScenarioCluster) -> None:
    (master,) = cluster.in_role("master")
    beside, *losers = (node for node in cluster.nodes if node is not master)
    one_side_goes_on(cluster, [master, beside], losers)


@pytest.mark.case("A6")
@pytest.mark.cluster(nodes=5)
def test_the_larger_side_goes_on_without_the_master(cluster: ScenarioCluster) -> None:
    (master,) = cluster.in_role("master")
    beside, *winners = (node for node in cluster.nodes if node is not master)
    one_side_goes_on(cluster, winners, [master, beside])


@pytest.mark.case("A6", "A10")
@pytest.mark.cluster(nodes=3)
def test_of_two_sides_that_boot_at_the_same_instant_one_forms_the_cluster(cluster: ScenarioCluster) -> None:
    one, two, three = cluster.nodes
    cluster.power_off()
    cluster.split([one, two], [three])
    for node in cluster.nodes:  # whoever is the second to form is forced out, or waits: that depends on who was first
        cluster.allow_panic(node)
    cluster.power_on()
    cluster.wait(lambda view: None if view.newest.joined() else "nobody is joined", about="one side forms the cluster")
    cluster.pass_time(4 * cluster.settings["settings"]["timing"]["death_ms"] / 1000)
    members = {node.id for node in cluster.in_role("any")}
    assert members in ({0}, {1}, {0, 1}, {2}), "members on both sides"

    cluster.heal_link(three)
    if crashed := [node for node in cluster.nodes if node.view.power == "crashed"]:
        cluster.power_cycle(crashed)
    cluster.wait_joined()
