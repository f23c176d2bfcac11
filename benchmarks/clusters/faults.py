"""Twenty different faults of three joined nodes, each with the one verdict that is right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hil.scenario import ScenarioCluster

Fault = Callable[[ScenarioCluster], None]


def lose_power(victim: int, cluster: ScenarioCluster) -> None:
    """The others force it out; it comes back as a new life."""
    node = cluster.nodes[victim]
    cluster.power_off([node])
    cluster.wait_state(node, "inactive")
    cluster.power_on([node])
    cluster.wait_joined()
    assert node.view.incarnation == 2, f"node {victim} is in its life {node.view.incarnation}"


def reset(victim: int, cluster: ScenarioCluster) -> None:
    """It boots again, and joins as a new life."""
    node = cluster.nodes[victim]
    cluster.reset(node)
    cluster.wait_joined()
    assert node.view.incarnation == 2, f"node {victim} is in its life {node.view.incarnation}"


def leave(victim: int, cluster: ScenarioCluster) -> None:
    """It goes gracefully; nobody is forced out."""
    node = cluster.nodes[victim]
    cluster.shutdown(node)
    cluster.wait_off(node)
    cluster.wait_state(node, "inactive")


def panic(victim: int, cluster: ScenarioCluster) -> None:
    """Its kernel panics on order; the others force it out."""
    node = cluster.nodes[victim]
    cluster.panic(node)
    cluster.wait_crashed(node)
    cluster.wait_state(node, "inactive")


def cut(victim: int, how: str, cluster: ScenarioCluster) -> None:
    """It finds itself forced out and panics."""
    node = cluster.nodes[victim]
    with cluster.expecting_panic(node, "forced out"):
        cluster.cut_link(node, how)
    cluster.wait_state(node, "inactive")


def hang(victim: int, cluster: ScenarioCluster) -> None:
    """Its disk path hangs: it is forced out, and panics when the disk answers again."""
    node = cluster.nodes[victim]
    with cluster.expecting_panic(node, "forced out"):
        cluster.disk.inject("hang", node)
        cluster.wait_state(node, "inactive")
        cluster.disk.heal(node)


def slow(cluster: ScenarioCluster) -> None:
    """A disk that is a little slow forces nobody out."""
    before = cluster.view.epoch
    with cluster.disk.inject("slow", ms=20, count=20) as fault:
        fault.wait_struck()
    cluster.wait_joined()
    assert cluster.view.epoch == before, f"epoch {cluster.view.epoch}, not {before}"


def all_lose_power(cluster: ScenarioCluster) -> None:
    """All come back as new lives."""
    cluster.power_cycle()
    cluster.wait_joined()
    lives = [node.view.incarnation for node in cluster.nodes]
    assert lives == [2] * len(lives), f"lives {lives}"


FAULTS: list[tuple[str, Fault]] = [
    *[(f"power of node {node}", partial(lose_power, node)) for node in range(3)],
    *[(f"silent cut of node {node}", partial(cut, node, "silent")) for node in (1, 2)],
    *[(f"carrier of node {node}", partial(cut, node, "carrier")) for node in (1, 2)],
    *[(f"disk hang of node {node}", partial(hang, node)) for node in range(3)],
    *[(f"panic of node {node}", partial(panic, node)) for node in range(3)],
    *[(f"leave of node {node}", partial(leave, node)) for node in range(3)],
    *[(f"reset of node {node}", partial(reset, node)) for node in (0, 2)],
    ("slow disk", slow),
    ("power of all", all_lose_power),
]
