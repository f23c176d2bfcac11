"""Many seeds over many processes: each worker simulates one seed at a time, and says what became of it.

Workers are spawned, not forked: each imports what it needs and shares nothing, so a seed gives the same in any of them,
and in a process of its own (`test_sim_determinism.py`). They may run the compiled modules (:mod:`hil.compiled`): a seed
that fails there is run again by the interpreter, and it is that run which is told.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hil import workers
from hil.compiled.use import in_use, start
from hil.errors import UsageError
from hil.sim.coverage import Row
from hil.sim.options import draw
from hil.sim.run import Result, run, run_and_tell

AHEAD = 2
"""So many seeds are handed out for each worker: none waits, and not many are lost at the end."""

SAME_RUN: Final = "a seed is the same run compiled and interpreted"


@dataclass(frozen=True)
class Seeds:
    """From ``first`` up to, not including, ``end``; None: without end."""

    first: int
    end: int | None

    def __iter__(self) -> Iterator[int]:
        seed = self.first
        while self.end is None or seed < self.end:
            yield seed
            seed += 1


def parse_seeds(text: str, *, minutes: float | None) -> Seeds:
    """``A:B``, ``A:`` or ``A``. Raises :class:`UsageError` for what is none, empty or reversed; says what is legal."""
    legal = "legal: A:B with 0 <= A < B, as in 0:100; A for one seed; A: with --minutes"
    first, colon, end = text.partition(":")
    numbers = [part for part in (first, end) if part]
    if not first or not all(part.isascii() and part.isdecimal() for part in numbers):
        raise UsageError(f"--seeds {text}: no range of seeds ({legal})")
    if not colon:
        return Seeds(int(first), int(first) + 1)
    if not end:
        if minutes is None:
            raise UsageError(f"--seeds {text}: without end ({legal})")
        return Seeds(int(first), None)
    if int(end) <= int(first):
        what = "empty" if int(end) == int(first) else "reversed"
        raise UsageError(f"--seeds {text}: {what} ({legal})")
    return Seeds(int(first), int(end))


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass
class Totals:
    """What there is of a campaign so far."""

    began: float = field(default_factory=time.monotonic)
    seeds: int = 0
    failed: int = 0
    simulated_s: float = 0.0
    events: int = 0
    panics: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    coverage: Counter[Row] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        """One more seed."""
        self.seeds += 1
        self.failed += not result.passed
        self.simulated_s += result.simulated_ms / 1000
        self.events += result.events
        self.panics += result.panics
        self.faults.update(result.faults)
        self.coverage.update(result.coverage)

    @property
    def wall_s(self) -> float:
        """Since the beginning."""
        return max(1e-9, time.monotonic() - self.began)

    def speed(self) -> str:
        """For people."""
        return (
            f"{self.seeds} seeds, {self.failed} failed, {self.seeds / self.wall_s:.1f} seeds/s, "
            f"{self.simulated_s / self.wall_s:.0f} simulated s/s"
        )


def simulate_seed(seed: int, preset: str, nodes: int | None, data_disks: int | None, coverage: bool) -> Result:
    """What a worker does."""
    options = draw(seed, preset, nodes, data_disks)
    return run(options, coverage=coverage) if in_use() else run_and_tell(options, coverage=coverage)


def interpreted(failed: Result, *, coverage: bool = False) -> Result:
    """A seed that failed in a worker with the compiled modules: what the interpreter has to say of it, in full."""
    told = run(failed.options, recording=True, coverage=coverage)
    if (told.digest, told.claim) == (failed.digest, failed.claim):
        return told
    here, there = told.violation or "passed", failed.violation
    return replace(
        told,
        claim=SAME_RUN,
        violation=f"interpreted: {here} (digest {told.digest}); compiled: {there} (digest {failed.digest})",
        details=[*told.details, *failed.details],
    )


def campaign(
    seeds: Seeds,
    preset: str,
    nodes: int | None,
    jobs: int,
    minutes: float | None,
    *,
    data_disks: int | None = None,
    coverage: bool = False,
    compiled: Path | None = None,
) -> Iterator[Result]:
    """The results as they come, in any order; ends with the range or after so many minutes.

    coverage: count the rows of guestd's state tables. compiled: the modules that the workers run; None: the sources.
    """
    draw(0, preset, nodes, data_disks)  # what cannot be is said before anything is started
    until = None if minutes is None else time.monotonic() + 60 * minutes
    if jobs == 1 and compiled is None:
        for seed in seeds:
            if until is not None and time.monotonic() >= until:
                return
            yield simulate_seed(seed, preset, nodes, data_disks, coverage)
        return
    waiting: set[Future[Result]] = set()
    numbers = iter(seeds)
    with workers.pool(jobs, start, compiled) as pool:
        try:
            over = False
            while True:
                while not over and len(waiting) < jobs * AHEAD:
                    following = next(numbers, None)
                    over = following is None or (until is not None and time.monotonic() >= until)
                    if following is not None and not over:
                        waiting.add(pool.submit(simulate_seed, following, preset, nodes, data_disks, coverage))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in sorted(done, key=lambda future: future.result().options.seed):
                    result = one.result()
                    again = compiled is not None and not result.passed
                    yield interpreted(result, coverage=coverage) if again else result
        finally:
            for one in waiting:
                one.cancel()
