"""Clocks step by an hour and drift by 10 %, and a second machine runs with a node's id: nobody is hurt (A16, A19)."""

import pytest

from hil.client import Node
from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly, pytest.mark.guests("their clocks are set by programs on them")]

GUESTD = "timeout 60 python3.11 -I -S -X utf8 /usr/lib/hil/guestd.pyc"
STEP_S = 3600
DRIFT_PPM = 100_000


def shell(node: Node, command: str) -> str:
    """What it says; it must succeed."""
    done = node.ssh(command)
    assert done.exited == 0, done.stderr
    return str(done.stdout)


def set_rate(node: Node, ppm: int) -> None:
    """Its clocks, the monotonic one too, run so much too fast; the kernel allows 10 % at most."""
    ticks = 10_000 + ppm // 100
    assert f"tick:         {ticks} us" in shell(node, f"adjtimex -t {ticks}; adjtimex")


@pytest.mark.case("A19")
@pytest.mark.cluster(nodes=3)
def test_clocks_that_step_and_drift_hurt_nobody(cluster: ScenarioCluster) -> None:
    epoch, death_s = cluster.view.epoch, cluster.settings["settings"]["timing"]["death_ms"] / 1000
    fast, slow, _ = cluster.nodes
    with cluster.workload("files", "locks") as load:
        for node, sign in ((fast, 1), (slow, -1)):
            shell(node, f"date -s @$(( $(date +%s) + {sign * STEP_S} ))")
            set_rate(node, sign * DRIFT_PPM)
        cluster.pass_time(6 * death_s)
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
