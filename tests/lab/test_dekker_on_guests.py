"""Mode `dekker` on real guests: the same cluster, whose epochs are decided by a tournament."""

from __future__ import annotations

import os
import time

import pytest

from hil.checkers import disk_commands, fence, level_order
from hil.config import make_config
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab


def test_a_tournament_decides_who_goes_on_without_the_master() -> None:  # S3.2, S6.2
    cluster = ScenarioCluster.up(make_config(name=f"t-dekker-{os.getpid()}", nodes=3, election="dekker"))
    try:
        cluster.wait_joined()
        master = cluster.master
        assert master is not None
        period_s = cluster.settings["settings"]["timing"]["disk_heartbeat_ms"] / 1000
        before, event = cluster.disk.status()["commands"], cluster.catch_up().n
        time.sleep(2 * period_s)
        cluster.power_off([master])
        cluster.wait_state(master, "inactive")
        time.sleep(2 * period_s)
        (winner,) = {found["node"] for found in cluster.events(since=event) if found["kind"] == "elected"}
        found = disk_commands.count(cluster.disk.ledger(), winner, before, cluster.disk.status()["commands"])
        assert found.ballots == 0
        assert found.matches in (2, 4)  # two for each round; who has no opponent in one does not play it
        assert found.reads == found.matches + 1  # one more after the loss of a master
        assert found.fences == 1
        cluster.power_on([master])
        cluster.wait_joined()
        cluster.check_panics()
        fence.check(cluster.disk.records())
        level_order.check(cluster.events())
    finally:
        cluster.down()
