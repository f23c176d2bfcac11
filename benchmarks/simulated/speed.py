"""How fast seeds are simulated: on one processor, and with a process on each of two."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from hil.sim.options import Options, draw
from hil.sim.run import Result, run

SIMULATED_MS = 120_000


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


def three(seed: int) -> Options:
    """Three nodes, any faults."""
    return draw(seed, "swarm", 3)


def several(seed: int) -> Options:
    """3 to 5 nodes, any faults, for at least ``SIMULATED_MS``: what follows the faults takes the rest of it."""
    options = draw(seed, "swarm", 3 + seed % 3)
    timing = options.timing
    rest_ms = timing.death_ms + timing.agreed_ms_max + options.quiet_ms
    return replace(options, faults_ms=SIMULATED_MS - rest_ms)


def timed(options: Options) -> tuple[Result, float]:
    """Simulate; and the processor time that it took."""
    began = time.process_time()
    result = run(options)
    return result, time.process_time() - began


def on_one(seeds: range) -> Speed:
    """In this process, one after the other."""
    timed(three(seeds.start))  # everything is imported and compiled then
    began = time.monotonic()
    return _sum([timed(three(seed)) for seed in seeds], began)


def on_several(seeds: range, jobs: int) -> Speed:
    """In so many processes, started before the clock is."""
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(timed, [draw(job, "lite") for job in range(2 * jobs)]))
        began = time.monotonic()
        done = list(pool.map(timed, [several(seed) for seed in seeds]))
        return _sum(done, began)


def _sum(done: list[tuple[Result, float]], began: float) -> Speed:
    return Speed(
        seeds=len(done),
        failed=sum(not result.passed for result, _ in done),
        simulated_s=sum(result.simulated_ms for result, _ in done) / 1000,
        wall_s=time.monotonic() - began,
        cpu_s=sum(cpu_s for _, cpu_s in done),
    )
