"""How fast seeds are simulated: on one processor, and with a process on each of two."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from hil import workers
from hil.compiled.use import start
from hil.sim.options import Options, draw
from hil.sim.run import Result, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIMULATED_MS = 120_000

_Measured = TypeVar("_Measured")


class Speed(NamedTuple):
    """Of some seeds together."""

    seeds: int
    failed: int
    simulated_s: float
    wall_s: float
    cpu_s: float

    @property
    def per_wall_s(self) -> float:
        """Simulated seconds in a second."""
        return self.simulated_s / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        """Simulated seconds in a second of processor time: what an idle machine would show."""
        return self.simulated_s / self.cpu_s

    @property
    def seeds_per_minute(self) -> float:
        """By the wall clock."""
        return 60 * self.seeds / self.wall_s


def three(seed: int, *, lockers: int = 0, everything: bool = False) -> Options:
    """Three nodes, any faults. lockers: programs on each that lock; without them heartbeats and faults are all.

    everything: programs that use files and virtual disks as well, and client services, in each seed.
    """
    options = replace(_bare(draw(seed, "swarm", 3)), lockers=lockers)
    return replace(options, filers=2, volume_users=1, services=5) if everything else options


def _bare(options: Options) -> Options:
    """Heartbeats and faults: no program uses what the nodes have together."""
    return replace(options, lockers=0, filers=0, volume_users=0, services=0)


def several(seed: int) -> Options:
    """3 to 5 nodes, any faults, for at least ``SIMULATED_MS``: what follows the faults takes the rest of it."""
    options = _bare(draw(seed, "swarm", 3 + seed % 3))
    timing = options.timing
    rest_ms = timing.death_ms + timing.agreed_ms_max + options.quiet_ms
    return replace(options, faults_ms=SIMULATED_MS - rest_ms)


def timed(options: Options) -> tuple[Result, float]:
    """Simulate; and the processor time that it took."""
    began = time.process_time()
    result = run(options)
    return result, time.process_time() - began


def on_one(seeds: range, compiled: Path | None = None, *, lockers: int = 0, everything: bool = False) -> Speed:
    """One after the other, 3 nodes; with what `three` says."""
    return _on([three(seed, lockers=lockers, everything=everything) for seed in seeds], 1, compiled)


def on_several(seeds: range, jobs: int, compiled: Path | None = None) -> Speed:
    """In so many processes, 3 to 5 nodes."""
    return _on([several(seed) for seed in seeds], jobs, compiled)


def in_a_process(measure: Callable[[int], _Measured], given: int, compiled: Path | None = None) -> _Measured:
    """What it measures, in a process of its own."""
    with _pool(1, compiled) as pool:
        return pool.submit(measure, given).result()


def _pool(jobs: int, compiled: Path | None) -> ProcessPoolExecutor:
    return workers.pool(jobs, start, compiled)


def _on(wanted: list[Options], jobs: int, compiled: Path | None) -> Speed:
    """In processes that are started, and have imported everything, before the clock is."""
    with _pool(jobs, compiled) as pool:
        list(pool.map(timed, [draw(job, "lite") for job in range(2 * jobs)]))
        began = time.monotonic()
        done = list(pool.map(timed, wanted))
        return _sum(done, began)


def _sum(done: list[tuple[Result, float]], began: float) -> Speed:
    return Speed(
        seeds=len(done),
        failed=sum(not result.passed for result, _ in done),
        simulated_s=sum(result.simulated_ms for result, _ in done) / 1000,
        wall_s=time.monotonic() - began,
        cpu_s=sum(cpu_s for _, cpu_s in done),
    )
