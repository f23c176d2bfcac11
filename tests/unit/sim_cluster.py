"""Simulated clusters for tests of what is behind them: ``started`` ends them, and their evidence is the test's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hil.client import Node
from hil.config import make_config
from hil.scenario import ScenarioCluster
from hil.sim.backend.simulated import Simulated
from hil.sim.backend.world import ScenarioWorld


@contextmanager
def started(
    seed: int = 0, *, joined: bool = True, asked: dict[str, Any] | None = None, **config: Any
) -> Iterator[ScenarioCluster]:
    """A cluster that has joined, of these keys of a cluster file; ``asked``: options of the simulation."""
    made = make_config(**{"name": "simulated", "nodes": 3, **config})
    cluster = ScenarioCluster(made.name, Simulated(made, seed, asked))
    try:
        if joined:
            cluster.wait_joined()
        yield cluster
    finally:
        cluster.down()


def world_of(cluster: ScenarioCluster) -> ScenarioWorld:
    """What it is simulated in."""
    assert isinstance(cluster.backend, Simulated)
    return cluster.backend.bench.world


def plain_node(cluster: ScenarioCluster) -> Node:
    """One that has joined and is not the master."""
    master = cluster.master
    assert master is not None
    return cluster.any_other(master)
