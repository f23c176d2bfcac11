"""Nodes that lose each other on real guests: the largest full group goes on, is chosen once, and no other is hurt."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import pytest

from hil.checkers import fence, level_order
from hil.client import Node
from hil.config import make_config
from hil.errors import ClaimFailed
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

QUIET_DEATHS = 3
"""How many times the time of a death nothing may happen after a change."""


@pytest.fixture(scope="module")
def shared() -> Iterator[ScenarioCluster]:
    cluster = ScenarioCluster.up(make_config(name=f"t-touch-{os.getpid()}", nodes=5))
    try:
        yield cluster
        cluster.check_panics()
        fence.check(cluster.disk.records())
        level_order.check(cluster.events())
    finally:
        cluster.down()


@pytest.fixture
def cluster(shared: ScenarioCluster) -> ScenarioCluster:
    """All five joined, nothing cut. Whoever booted first may have formed the cluster."""
    for node in shared.nodes:
        shared.heal_link(node)
    shared.power_off()
    shared.power_on()
    shared.wait_joined()
    return shared


def master_and_others(cluster: ScenarioCluster) -> tuple[Node, list[Node]]:
    master = cluster.master
    assert master is not None
    return master, [node for node in cluster.nodes if node is not master]


def members(cluster: ScenarioCluster) -> list[int]:
    return [node.id for node in cluster.nodes if node.view.state == "joined"]


@contextlib.contextmanager
def costs(cluster: ScenarioCluster, *victims: Node) -> Iterator[None]:
    """What happens in the block makes these nodes panic, in one change of the membership, and then nothing else."""
    epoch = cluster.view.epoch
    assert epoch is not None
    with contextlib.ExitStack() as stack:
        for victim in victims:
            stack.enter_context(cluster.expecting_panic(victim, "forced out"))
        yield
    for victim in victims:
        cluster.wait_state(victim, "inactive")
    before = cluster.catch_up().n
    quiet_s = QUIET_DEATHS * cluster.settings["settings"]["timing"]["death_ms"] / 1000
    with pytest.raises(ClaimFailed, match="no news"):
        cluster.wait(lambda view: "no news" if view.epoch == epoch + 1 else None, quiet_s, about="news")
    assert [e for e in cluster.events(since=before) if e["kind"] in {"silent", "bid", "panic", "elected"}] == []
    assert members(cluster) == [node.id for node in cluster.nodes if node not in victims]


def test_one_way_loss_costs_one_node_and_not_the_master(cluster: ScenarioCluster) -> None:  # S5.2, A7
    master, (other, *_) = master_and_others(cluster)
    with costs(cluster, other):
        cluster.cut_link(master, "silent", "in", [other])  # the master hears it no more, and is heard by it


def test_of_two_that_lose_each_other_while_all_others_hear_both_one_goes(cluster: ScenarioCluster) -> None:  # S5.2, A7
    _, (*_, one, other) = master_and_others(cluster)
    with costs(cluster, other):
        cluster.cut_link(one, "silent", others=[other])


def test_of_a_split_the_larger_side_goes_on(cluster: ScenarioCluster) -> None:  # S5.2, A6
    with costs(cluster, cluster.nodes[0], cluster.nodes[1]):
        cluster.split(cluster.nodes[:2], cluster.nodes[2:])


def test_of_a_split_into_halves_the_side_of_the_master_goes_on(cluster: ScenarioCluster) -> None:  # S5.2, A6
    master, (gone, beside, *victims) = master_and_others(cluster)
    cluster.shutdown(gone)
    cluster.wait_off(gone)
    cluster.wait_state(gone, "inactive")
    epoch = cluster.view.epoch
    with contextlib.ExitStack() as stack:
        for victim in victims:
            stack.enter_context(cluster.expecting_panic(victim, "forced out"))
        cluster.split([master, beside], victims)
    for victim in victims:
        cluster.wait_state(victim, "inactive")
    assert members(cluster) == sorted([master.id, beside.id])
    assert epoch is not None
    assert cluster.view.epoch == epoch + 1


def test_a_loser_that_boots_while_it_is_still_cut_off_forms_no_second_cluster(cluster: ScenarioCluster) -> None:  # A10
    loser, others = cluster.nodes[4], cluster.nodes[:4]
    with costs(cluster, loser):
        cluster.split(others, [loser])
    epoch = cluster.view.epoch
    cluster.power_cycle([loser])
    refusal = "the interconnect: nodes 0, 1, 2, 3 on the disk cannot be heard"
    cluster.wait(lambda _: None if loser.view.waiting == refusal else "it does not say why it waits", about="it")
    time.sleep(2 * cluster.settings["settings"]["timing"]["death_ms"] / 1000)
    cluster.catch_up()
    assert loser.view.state == "inactive"
    assert cluster.view.epoch == epoch
    cluster.heal_link(loser)
    cluster.wait_joined()
