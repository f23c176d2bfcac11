"""Writes to the membership database are torn, lost, misdirected or come back damaged: a missed read, no more (A17).

A sector has one writer and a checksum (spec S2.5). What is damaged is told, counts as missed, and the next write mends
it: nobody is taken for dead, and there are never two masters.
"""

from typing import Any

import pytest

from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.nightly]

DAMAGES: dict[str, dict[str, Any]] = {
    "torn": {"count": 1, "sectors": 0, "bytes": 100},
    "lost": {"count": 2, "direction": "write"},
    "flip": {"count": 3, "direction": "read", "bits": 8},
    "misdirected": {"count": 1, "shift": 8},  # where its neighbour writes
    "stale": {"count": 1},
}
TOLD = ("torn", "flip")
"""Those that a checksum tells; the others are a heartbeat that does not come."""


@pytest.mark.case("A17")
@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("whose", ["master", "any_other"])
@pytest.mark.cluster(nodes=3)
def test_a_damaged_sector_is_a_missed_read(cluster: ScenarioCluster, kind: str, whose: str) -> None:
    victim, before, epoch = cluster.in_role(whose)[0], cluster.view.n, cluster.view.epoch
    fault = cluster.disk.inject(kind, victim, lba=cluster.disk.database(), **DAMAGES[kind])
    fault.wait_struck()
    cluster.pass_time(3 * cluster.settings["settings"]["timing"]["death_ms"] / 1000)
    fault.heal()

    events = list(cluster.events(since=before))
    if kind in TOLD:
        assert [event for event in events if event["kind"] == "damaged"], "nobody has noticed"
    cluster.expect_members(cluster.nodes)
    assert cluster.view.epoch == epoch
    assert [event for event in events if event["kind"] in {"elected", "panic", "refused"}] == []
