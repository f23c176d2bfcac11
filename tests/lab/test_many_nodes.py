"""Eight real guests: all come in together after a power failure, and with some missing the others do not wait."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from hil.capacity import OVERRIDE
from hil.checkers import fence, level_order
from hil.config import make_config
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

NODES = 8
STEPS_OF_ONE_JOIN = 6
"""Barriers of all levels: what the join of a single node takes."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[ScenarioCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(OVERRIDE, str(NODES))  # more than a machine of two cores is asked to carry; it takes its time
        cluster = ScenarioCluster.up(make_config(name=f"t-many-{os.getpid()}", nodes=NODES))
        try:
            cluster.wait_joined()
            yield cluster
            cluster.check_panics()  # nobody was forced out
            fence.check(cluster.disk.records())
            level_order.check(cluster.events())
        finally:
            cluster.down()


def steps(cluster: ScenarioCluster, since: int) -> dict[int, int]:
    """The steps that each epoch took, as its master saw them."""
    found: dict[int, int] = {}
    for event in cluster.events(since=since):
        if event["kind"] == "membership" and event["node"] == event["master"]:
            found[event["epoch"]] = max(found.get(event["epoch"], 0), event["step"])
    return found


def test_after_a_power_failure_all_joins_overlap(cluster: ScenarioCluster) -> None:  # S4.6, A15
    epoch = cluster.view.epoch
    assert epoch is not None
    cluster.power_off()
    before = cluster.catch_up().n
    cluster.power_on()
    cluster.wait_joined()
    taken = steps(cluster, before)
    # The recovery after the last life and the join, once for all that boot together; a straggler begins one of its own.
    assert sum(taken.values()) <= 2 * 2 * STEPS_OF_ONE_JOIN, taken
    assert len(taken) <= 3, taken
    masters = {(event["epoch"], event["node"]) for event in cluster.events(since=before) if event["kind"] == "elected"}
    assert len(masters) == len({epoch for epoch, _ in masters})


def test_with_some_missing_the_others_form_and_the_missing_come_in_later(cluster: ScenarioCluster) -> None:  # A15
    cluster.power_off()
    present, missing = cluster.nodes[2:5], [*cluster.nodes[:2], *cluster.nodes[5:]]
    cluster.power_on(present)
    cluster.wait_joined(present)
    assert {node.id for node in cluster.nodes if node.view.state == "joined"} == {2, 3, 4}
    cluster.power_on(missing)
    cluster.wait_joined()
