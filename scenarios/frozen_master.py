"""The master stands still while it writes, is forced out, and wakes to a disk that refuses every write (A1, A2).

It stands for a minute, with its virtual processors stopped, so that it sees no time pass, or with its emulator stopped,
so that its clock jumps. No clock is needed to keep it off the disk (spec S6.2).
"""

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

STANDS_S = 60.0


@pytest.mark.case("A1", "A2")
@pytest.mark.parametrize("how", ["vcpu", "process"])
@pytest.mark.cluster(nodes=3)
def test_a_master_that_wakes_when_it_was_forced_out_changes_not_a_byte(cluster: ScenarioCluster, how: str) -> None:
    with cluster.workload("files", "locks") as load:
        load.wait_progress()
        (master,) = cluster.in_role("master")
        others = [node for node in cluster.nodes if node is not master]

        cluster.freeze(master, how)
        cluster.expect_members(others)
        load.wait_progress()
        cluster.pass_time(STANDS_S)
        with cluster.expecting_panic(master, because="forced out"):
            cluster.thaw(master)

        cluster.expect_no_stale_writes()
        load.check()


@pytest.mark.case("A2")
@pytest.mark.parametrize("how", ["vcpu", "process"])
@pytest.mark.cluster(nodes=3)
def test_short_pauses_evict_nobody(cluster: ScenarioCluster, how: str) -> None:
    pause_s = cluster.settings["settings"]["timing"]["death_ms"] / 4000
    epoch = cluster.view.epoch
    with cluster.workload("files", "locks") as load:
        for node in cluster.nodes * 3:
            load.wait_progress(1)
            cluster.freeze(node, how)
            cluster.pass_time(pause_s)
            cluster.thaw(node)
    cluster.expect_members(cluster.nodes)
    assert cluster.view.epoch == epoch
