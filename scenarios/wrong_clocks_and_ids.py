"""Times of day step by an hour, and a second machine runs with a node's id: no member notices (A16, A19)."""

import pytest

from hil.client import Node
from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly, pytest.mark.guests("a simulated node has no time of day, no shell")]

GUESTD = "timeout 60 python3.11 -I -S -X utf8 /usr/lib/hil/guestd.pyc"
STEP_S = 3600


def shell(node: Node, command: str) -> None:
    """It must succeed."""
    done = node.ssh(command)
    assert done.exited == 0, done.stderr


@pytest.mark.case("A19")
@pytest.mark.cluster(nodes=3)
def test_times_of_day_that_step_hurt_nobody(cluster: ScenarioCluster) -> None:
    epoch, death_s = cluster.view.epoch, cluster.settings["settings"]["timing"]["death_ms"] / 1000
    one, other, _ = cluster.nodes
    with (
        cluster.workload("files", "locks") as load,
        cluster.inject("clock-step", one, seconds=STEP_S),
        cluster.inject("clock-step", other, seconds=-STEP_S),
    ):
        cluster.pass_time(3 * death_s)
        load.wait_progress()
    cluster.expect_members(cluster.nodes)
    assert cluster.view.epoch == epoch


@pytest.mark.case("A16")
@pytest.mark.cluster(nodes=3)
def test_a_second_machine_with_the_id_of_a_living_node_is_refused(cluster: ScenarioCluster) -> None:
    """guestd is started once more, on another machine, as the first node: that one notices nothing."""
    first, second, _ = cluster.nodes
    shell(second, "kill -9 $(pidof python3.11)")
    cluster.wait_state(second, "inactive")
    epoch, incarnation = cluster.view.epoch, first.view.incarnation

    refused = second.ssh(f"HIL_NODE={first.id} {GUESTD}")
    assert refused.exited == 2
    assert f"another machine runs as node {first.id}: it is heard on the interconnect" in refused.stderr
    cluster.catch_up()
    assert (first.view.state, first.view.incarnation, cluster.view.epoch) == ("joined", incarnation, epoch)
