"""Looks for mutants, seed after seed, over several processes; and whether guestd as it is passes the same seeds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from hil import workers
from hil.sim.options import Options
from hil.sim.run import run
from tests.mutations.catalogue import BY_NAME
from tests.mutations.mutant import Mutant

CHUNK: Final = 4
"""Seeds that are handed to a worker at once: a few seconds of work."""


@dataclass
class Looked:
    """What became of some seeds of one mutant. ``seed``: the one in which a claim was broken that finds it, if any."""

    name: str
    seeds: int = 0
    seed: int | None = None
    claim: str = ""
    violation: str = ""
    others: Counter[str] = field(default_factory=Counter)
    """Claims that were broken and do not find it, by how many seeds."""
    sound_failed: list[int] = field(default_factory=list)
    """Seeds that guestd as it is does not pass."""
    wall_s: float = 0.0

    @property
    def found(self) -> bool:
        """A claim was broken that finds it, and the same seeds pass without the mutant."""
        return self.seed is not None and not self.sound_failed

    def add(self, more: Looked) -> None:
        """The seeds that follow."""
        self.seeds += more.seeds
        self.seed, self.claim, self.violation = more.seed, more.claim, more.violation
        self.others.update(more.others)
        self.sound_failed += more.sound_failed
        self.wall_s += more.wall_s


def look(name: str, seeds: Sequence[int]) -> Looked:
    """These seeds, up to the first in which a claim is broken that finds the mutant; then all of them without it."""
    mutant = BY_NAME[name]
    began, looked = time.perf_counter(), Looked(name)
    with mutant.applied():
        for seed in seeds:
            result = run(mutant.options(seed))
            looked.seeds += 1
            if mutant.is_caught_by(result.claim):
                looked.seed, looked.claim, looked.violation = seed, result.claim or "", result.violation or ""
                break
            if result.claim is not None:
                looked.others[result.claim] += 1
    looked.wall_s = time.perf_counter() - began
    looked.sound_failed = [seed for seed in seeds[: looked.seeds] if not _is_sound(mutant.options(seed))]
    return looked


@cache
def _is_sound(options: Options) -> bool:
    """Whether guestd as it is passes that run. Many mutants have the same ones."""
    return run(options).passed


def hunt(
    mutants: Sequence[Mutant], seeds: int, jobs: int, told: Callable[[list[Looked]], None] = lambda _looked: None
) -> Iterator[Looked]:
    """What became of each mutant within so many seeds, as they are done; ``told``: how far those are that are not."""
    under_way = {mutant.name: Looked(mutant.name) for mutant in mutants}
    if jobs == 1:
        for name in list(under_way):
            while not _over(under_way[name], seeds):
                under_way[name].add(look(name, _chunk(under_way[name], seeds)))
                told([under_way[name]])
            yield under_way.pop(name)
        return
    waiting: dict[Future[Looked], str] = {}
    idle = list(under_way)
    with workers.pool(jobs) as pool:
        try:
            while under_way:
                while idle and len(waiting) < jobs:
                    name = idle.pop(0)
                    waiting[pool.submit(look, name, _chunk(under_way[name], seeds))] = name
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in [future for future in waiting if future in done]:
                    name = waiting.pop(future)
                    under_way[name].add(future.result())
                    if _over(under_way[name], seeds):
                        yield under_way.pop(name)
                    else:
                        idle.insert(0, name)  # one after the other, and not all at the same time
                told([under_way[name] for name in waiting.values()])
        finally:
            for future in waiting:
                future.cancel()


def _over(looked: Looked, seeds: int) -> bool:
    return looked.seed is not None or looked.seeds >= seeds


def _chunk(looked: Looked, seeds: int) -> list[int]:
    return list(range(looked.seeds, min(seeds, looked.seeds + CHUNK)))
