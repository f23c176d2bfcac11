"""One survivor cannot read the journal of the dead: nothing of the dead node is given to anybody meanwhile (A13)."""

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

HELD_UP_S = 2.0


@pytest.mark.case("A13")
@pytest.mark.cluster(nodes=3)
def test_recovery_waits_for_the_slowest_replay(cluster: ScenarioCluster) -> None:
    with cluster.workload("files", "locks") as load:
        load.wait_progress(10)
        (master,) = cluster.in_role("master")
        victim, delayed = (node for node in cluster.nodes if node is not master)
        before = cluster.catch_up().n

        def recovered() -> list[int]:
            """The levels at which the forced leave is over: the shared file system's is 30."""
            told = [event for event in cluster.events(since=before) if event["kind"] == "level-complete"]
            return [event["level"] for event in told if event["transition"] == "forced-leave" and event["level"] >= 30]

        fault = cluster.disk.inject("hang", delayed, lba=cluster.disk.journal(victim))
        cluster.power_off([victim])
        fault.wait_struck()
        cluster.pass_time(HELD_UP_S)
        assert recovered() == [], "the level of the file system did not wait for every replay"
        fault.heal()

        cluster.expect_members([master, delayed])
        replays = [event["node"] for event in cluster.events(since=before) if event["kind"] == "journal-replayed"]
        assert sorted(replays) == sorted([master.id, delayed.id])
        load.wait_progress()
