"""``./run bench warm``: what saved machines and checkpoints are worth, on this machine, now.

Cold and warm starts of three nodes in turns, from ``up`` until all have joined; a checkpoint's save and restore; ten
short scenarios that begin from one checkpoint against ten that boot; restores in a row, each followed by a different
fault, with the verdicts; the size of the cache. Exit status 1 when a bound is missed. Options: ``--rounds R --json``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.clusters.faults import FAULTS
from benchmarks.figures import Figure, note, print_figures
from hil import checkpoint, warm
from hil.config import ClusterConfig, make_config
from hil.errors import HilError
from hil.scenario import ScenarioCluster

NODES = 3
SCENARIOS = 10


def main() -> int:
    """Run everything and print the figures."""
    parser = argparse.ArgumentParser(prog="./run bench warm", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="cold and warm starts, saves and restores (5)")
    parser.add_argument("--restores", type=int, default=20, help="restores in a row, each with another fault (20)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    home = checkpoint.directory()
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=home) as directory:
        figures = measure(Path(directory), arguments.rounds, arguments.restores)
    return print_figures(figures, as_json=arguments.json)


def measure(directory: Path, rounds: int, restores: int) -> list[Figure]:
    """All rows."""
    config = make_config(name=f"bench-{os.getpid()}", nodes=NODES)
    with running(lambda: ScenarioCluster.up(config)) as cluster:  # the machines are saved, unless they were
        cluster.wait_joined()
    cold, hot = [], []
    for _ in range(rounds):
        cold.append(note("cold start", until_joined(config, cold=True)))
        hot.append(note("warm start", until_joined(config, cold=False)))
    saved = directory / "joined"
    saves, backs = [], []
    with running(lambda: ScenarioCluster.up(config)) as cluster:
        cluster.wait_joined()
        for _ in range(rounds):
            started = time.monotonic()
            cluster.checkpoint(saved, replace=saved.exists())
            saves.append(note("save", time.monotonic() - started))
    for _ in range(rounds):
        started = time.monotonic()
        with running(lambda: ScenarioCluster.restored(saved, config.name)) as cluster:
            cluster.catch_up()
            backs.append(note("restore", time.monotonic() - started))
    ratio = statistics.median(hot) / statistics.median(cold)
    booted = note("ten scenarios that boot", ten_scenarios(lambda: ScenarioCluster.up(config, cold=True)))
    shared = note("ten from one checkpoint", ten_scenarios(lambda: ScenarioCluster.restored(saved, config.name)))
    wrong = verdicts(saved, config, restores)
    image = checkpoint.load(saved, verify=False).manifest.image
    mine = [entry.size for entry in warm.entries() if entry.image == image]
    cache = sum(sorted(mine)[-NODES:]) / 1e6
    return [
        Figure("three nodes cold until all joined", statistics.median(cold), "s", 25.0, cold),
        Figure("three nodes warm until all joined", statistics.median(hot), "s", 6.0, hot),
        Figure("warm / cold", ratio, "", 0.25, []),
        Figure("checkpoint of three joined nodes: save", statistics.median(saves), "s", 6.0, saves),
        Figure("checkpoint: restore until the cluster answers", statistics.median(backs), "s", 5.0, backs),
        Figure("ten scenarios from one checkpoint / ten that boot", shared / booted, "", 0.25, [shared, booted]),
        Figure(f"wrong verdicts of {restores} restores with a fault", len(wrong), "", 0, []),
        Figure("saved machines of three nodes", cache, "MB", 300, []),
    ]


@contextmanager
def running(start: Callable[[], ScenarioCluster]) -> Iterator[ScenarioCluster]:
    """A cluster that is gone afterwards."""
    cluster = start()
    try:
        yield cluster
    finally:
        cluster.down()


def until_joined(config: ClusterConfig, *, cold: bool) -> float:
    """Seconds."""
    started = time.monotonic()
    with running(lambda: ScenarioCluster.up(config, cold=cold)) as cluster:
        cluster.wait_joined()
        return time.monotonic() - started


def ten_scenarios(start: Callable[[], ScenarioCluster]) -> float:
    """Seconds for all: each has its cluster joined, asks the disk for its state, pulls one plug, and is gone."""
    started = time.monotonic()
    for _ in range(SCENARIOS):
        with running(start) as cluster:
            cluster.wait_joined()
            cluster.disk.status()
            cluster.power_off([cluster.any_other()])
            cluster.check_panics()
    return time.monotonic() - started


def verdicts(saved: Path, config: ClusterConfig, restores: int) -> list[str]:
    """What went wrong in the restores, each with the next fault."""
    wrong = []
    for index in range(restores):
        name, fault = FAULTS[index % len(FAULTS)]
        try:
            with running(lambda: ScenarioCluster.restored(saved, config.name)) as cluster:
                fault(cluster)
                cluster.check_panics()
        except (HilError, AssertionError) as error:
            wrong.append(f"{name}: {error}")
        print(f"restore {index + 1}, {name}: {wrong[-1] if wrong and wrong[-1].startswith(name) else 'ok'}", flush=True)
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
