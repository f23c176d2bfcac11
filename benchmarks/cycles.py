"""``./run bench cycles``: verified fault cycles a minute on a real cluster that is up.

A cycle of a short cut is: inject, took hold, nobody forced out, heal, undone, all joined. One of a long
cut, or of a node that loses its power, ends in a forced leave and a boot, and is counted separately. Each cycle is
checked: who was to be forced out was, and nobody else. Options: ``--nodes N --cycles C --boots B --json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from hil.client import Node
from hil.config import make_config
from hil.errors import ClaimFailed
from hil.scenario import ScenarioCluster

WANTED_A_MINUTE = 10
FIGURES = {
    "short cut": "silent cut for a quarter of the death time, both ways, in, out in turn; nobody is forced out",
    "carrier": "carrier down for a quarter of the death time; nobody is forced out",
    "long cut": "silent cut until the node is forced out and has panicked; healed, power-cycled, joined",
    "power": "power off until the node is forced out; on, joined",
}
NO_BOOT = ("short cut", "carrier")


class Cycle(NamedTuple):
    """One that was as it was to be."""

    figure: str
    seconds: float


def main() -> int:
    """Run the cycles and print the figures."""
    parser = argparse.ArgumentParser(prog="./run bench cycles", description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--cycles", type=int, default=20, help="short cuts; a quarter as many of carriers")
    parser.add_argument("--boots", type=int, default=3, help="long cuts, and power cycles")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()

    cycles: list[Cycle] = []
    cluster = ScenarioCluster.up(make_config(name=f"bench-{os.getpid()}", nodes=arguments.nodes))
    try:
        cluster.wait_joined()
        rounds: list[tuple[str, int, Callable[[ScenarioCluster, Node, int], None]]] = [
            ("short cut", arguments.cycles, _short_cut),
            ("carrier", arguments.cycles // 4, _carrier),
            ("long cut", arguments.boots, _long_cut),
            ("power", arguments.boots, _power),
        ]
        for figure, count, cycle in rounds:
            victims = itertools.cycle(cluster.nodes)
            for number in range(count):
                started = time.monotonic()
                cycle(cluster, next(victims), number)
                cycles.append(Cycle(figure, time.monotonic() - started))
                print(f"{figure}: {cycles[-1].seconds:.2f} s", flush=True)
        cluster.check_panics()
        settings = cluster.settings["settings"]
    finally:
        cluster.down()
    seconds = {figure: [one.seconds for one in cycles if one.figure == figure] for figure in FIGURES}
    if arguments.json:
        print(json.dumps({"nodes": arguments.nodes, "accelerator": settings["accelerator"], "seconds": seconds}))
    else:
        _print_table(arguments.nodes, settings["accelerator"], seconds)
    return 0


def _death_s(cluster: ScenarioCluster) -> float:
    return float(cluster.settings["settings"]["timing"]["death_ms"]) / 1000


def _lives(cluster: ScenarioCluster) -> list[int]:
    return [node.view.incarnation for node in cluster.nodes]


def _unhurt(cluster: ScenarioCluster, kind: str, victim: Node, **parameters: str) -> None:
    """All are joined afterwards, in the lives and the epoch that they had before."""
    epoch, lives = cluster.view.epoch, _lives(cluster)
    with cluster.inject(kind, victim, **parameters):
        cluster.pass_time(_death_s(cluster) / 4)
    cluster.wait_joined()
    if (cluster.view.epoch, _lives(cluster)) != (epoch, lives):
        raise ClaimFailed(f"{kind} of node {victim.id} was short, and yet epoch {epoch} is {cluster.view.epoch} now")


def _short_cut(cluster: ScenarioCluster, victim: Node, number: int) -> None:
    _unhurt(cluster, "link-silent", victim, direction=("both", "in", "out")[number % 3])


def _carrier(cluster: ScenarioCluster, victim: Node, number: int) -> None:
    _unhurt(cluster, "link-carrier", victim)


def _struck(cluster: ScenarioCluster, victim: Node, before: list[int]) -> None:
    """The victim has joined as a new life, the others as the ones that they were."""
    cluster.wait_joined()
    wanted = [life + (node is victim) for node, life in zip(cluster.nodes, before, strict=True)]
    if _lives(cluster) != wanted:
        raise ClaimFailed(f"the lives are {_lives(cluster)}, not {wanted}: node {victim.id} alone was to be forced out")


def _long_cut(cluster: ScenarioCluster, victim: Node, number: int) -> None:
    before = _lives(cluster)
    with cluster.inject("link-silent", victim), cluster.expecting_panic(victim, because="forced out"):
        cluster.wait_state(victim, "inactive")
    cluster.power_cycle([victim])
    _struck(cluster, victim, before)


def _power(cluster: ScenarioCluster, victim: Node, number: int) -> None:
    before = _lives(cluster)
    with cluster.inject("power-off", victim):
        cluster.wait_state(victim, "inactive")
    _struck(cluster, victim, before)


def _print_table(nodes: int, accelerator: str, seconds: dict[str, list[float]]) -> None:
    print(f"\n{nodes} nodes, {accelerator}, {os.cpu_count()} processors; seconds\n")
    print(f"{'a minute':>8} {'median':>8} {'least':>8} {'most':>8} {'n':>4}")
    for name, meaning in FIGURES.items():
        values = seconds[name]
        if values:
            rate = 60 * len(values) / sum(values)
            about = f"{rate:8.1f} {statistics.median(values):8.2f} {min(values):8.2f} {max(values):8.2f}"
            print(f"{about} {len(values):4}  {meaning}")
    quick = [value for name in NO_BOOT for value in seconds[name]]
    if quick:
        rate = 60 * len(quick) / sum(quick)
        print(f"\ncycles a minute where no node has to boot: {rate:.1f} (wanted: {WANTED_A_MINUTE})")


if __name__ == "__main__":
    raise SystemExit(main())
