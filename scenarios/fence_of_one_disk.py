"""The fence fails on one of three disks: no recovery starts, and it is tried again until it works (A18).

The cluster has two data disks beside the shared one, LUN 0, which is fenced first. The target answers no reservation
command of the survivors at LUN 2: so the victim is fenced on LUN 0 and LUN 1, and nothing is done in its place before
the last one is (spec S6.2).

If only the master has lost LUN 2, the turn passes to a member that sees all disks, which fences the master as well.
"""

import pytest

from hil.checkers import fence, level_order
from hil.scenario import ScenarioCluster
from hil.view import View

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

TRIED_S = 8.0
"""For so long it is tried in vain. Linux waits 20 s for such a command."""


@pytest.mark.case("A18")
@pytest.mark.parametrize("whose", ["a plain node", "the master"])
@pytest.mark.cluster(nodes=3, data_disks=2)
def test_while_one_disk_cannot_be_fenced_nothing_is_done_in_the_place_of(cluster: ScenarioCluster, whose: str) -> None:
    master = cluster.master
    assert master is not None
    victim = master if whose == "the master" else cluster.any_other(master)
    survivors = [node for node in cluster.nodes if node is not victim]
    before, epoch = cluster.catch_up().n, cluster.view.epoch

    def why_not(view: View) -> str | None:
        return None if any(node.not_begun for node in view.nodes) else "nobody has won the next epoch in vain"

    held = cluster.disk.inject("hang", survivors, direction="reserve", lun=2)
    cluster.power_off([victim])
    cluster.wait(why_not, about="the fence of LUN 2 is given up")
    cluster.pass_time(TRIED_S)
    told = list(cluster.events(since=before))
    in_vain = [event["why"] for event in told if event["kind"] == "epoch-not-begun"]
    assert set(in_vain) == {"the fence could not be verified on LUN 2"}
    assert len(in_vain) > 1, "it is tried again"
    assert not [event for event in told if event["kind"] == "notified" and event["transition"] == "forced-leave"]
    assert cluster.view.epoch == epoch
    assert {node.view.state for node in survivors} == {"joined"}
    assert preempted(cluster, before) == [0, 1]

    held.heal()
    cluster.wait_state(victim, "inactive")
    assert preempted(cluster, before) == [0, 1, 2]
    fence.check(cluster.disk.records())
    cluster.power_on([victim])
    cluster.wait_joined()
    level_order.check(cluster.events(since=before))


@pytest.mark.case("A18")
@pytest.mark.cluster(nodes=3, data_disks=2)
def test_a_master_that_has_lost_a_data_disk_is_forced_out_with_whom_it_cannot_fence(cluster: ScenarioCluster) -> None:
    master = cluster.master
    assert master is not None
    victim = cluster.any_other(master)
    (heir,) = [node for node in cluster.nodes if node not in (master, victim)]
    before = cluster.catch_up().n
    held = cluster.disk.inject("hang", [master], lun=2)
    cluster.wait(lambda view: None if view.nodes[master.id].silent_luns else "it answers", about="it loses LUN 2")
    assert cluster.master is master, "nobody is to be fenced"
    with cluster.expecting_panic(master):
        cluster.power_off([victim])
    cluster.wait_state(victim, "inactive")
    cluster.wait_state(master, "inactive")
    assert cluster.master is heir
    forced_out = [one for one in cluster.events(since=before) if one["kind"] == "fenced" and one["node"] == heir.id]
    assert {one["subject"] for one in forced_out} == {master.id, victim.id}
    held.heal()
    fence.check(cluster.disk.records())
    cluster.power_cycle([victim, master])
    cluster.wait_joined()


def preempted(cluster: ScenarioCluster, since: int) -> list[int]:
    """The LUNs from which somebody has taken the victim's registration, in order."""
    return [event.get("lun", 0) for event in cluster.events(since=since) if event["kind"] == "preempted"]
