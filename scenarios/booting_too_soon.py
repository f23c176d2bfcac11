"""A node boots while its own recovery goes on, or while it is still cut off: it waits, and harms nobody (A9, A10)."""

import pytest

from hil.checkers import level_order
from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]


@pytest.mark.case("A9")
@pytest.mark.cluster(nodes=3)
def test_its_join_waits_for_the_end_of_its_recovery_and_it_is_fenced_once(cluster: ScenarioCluster) -> None:
    """The survivors' disk is slow, and there is a journal to replay (spec S4.10)."""
    with cluster.workload("files") as load:
        load.wait_progress(10)
        victim = cluster.any_other(*cluster.in_role("master"))
        survivors = [node for node in cluster.nodes if node is not victim]
        before, incarnation = cluster.catch_up().n, victim.view.incarnation

        with cluster.disk.inject("slow", survivors, direction="write", ms=50):
            cluster.power_cycle([victim])
            cluster.wait_joined()
        load.resume()

        assert victim.view.incarnation == incarnation + 1
        events = list(cluster.events(since=before))
        fenced = [event for event in events if event["kind"] == "fenced" and event["subject"] == victim.id]
        assert {event["incarnation"] for event in fenced} <= {incarnation}, "it was fenced again for the old reason"
        ended = level_order.completed_levels(events, victim.id, "forced-leave")
        assert ended, "its life before was never recovered"
        level_order.check(events)  # no level was told of the join before it was over
        load.wait_progress()


@pytest.mark.case("A10")
@pytest.mark.cluster(nodes=3)
def test_a_loser_that_boots_while_it_is_still_cut_off_forms_no_second_cluster(cluster: ScenarioCluster) -> None:
    """It says why it waits (spec S5.4)."""
    death_s = cluster.settings["settings"]["timing"]["death_ms"] / 1000
    loser, winners = cluster.nodes[2], cluster.nodes[:2]
    with cluster.expecting_panic(loser, because="forced out"):
        cluster.split(winners, [loser])
    cluster.expect_members(winners)
    epoch = cluster.view.epoch

    cluster.power_cycle([loser])
    refusal = "the interconnect: nodes 0, 1 on the disk cannot be heard"
    cluster.wait(
        lambda _: None if loser.view.waiting == refusal else f"it waits for {loser.view.waiting}", about="its refusal"
    )
    cluster.pass_time(3 * death_s)
    assert loser.view.state == "inactive"
    assert cluster.view.epoch == epoch

    cluster.heal_link(loser)
    cluster.wait_joined()
