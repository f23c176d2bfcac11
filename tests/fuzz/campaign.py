"""Many cases, one after the other. A case is a value: a seed and a number of PDUs; a failure says how to repeat it."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.fuzz import aftermath
from tests.fuzz.choices import Choices, Seeded
from tests.fuzz.virtual_loop import VirtualLoop
from tests.fuzz.world import Place, World
from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CASE_PDUS: Final = 1000
_PROGRESS_S: Final = 30.0
# The process may grow by this much from its tenth case to its last: caches fill, allocators do not give all back.
_GROWTH_BYTES_MAX: Final = 96 * 1024 * 1024
_WARM_CASES: Final = 10


class Case(NamedTuple):
    """One target from its beginning to its end."""

    seed: int
    pdus: int = CASE_PDUS

    @property
    def command(self) -> str:
        """What to type, in the checkout, to see it again."""
        return f".venv/bin/python -m tests.fuzz --seed {self.seed} --pdus {self.pdus}"


class Tally(NamedTuple):
    """What a case or a campaign did."""

    cases: int = 0
    pdus: int = 0
    answers: int = 0
    statuses: Counter[int] = Counter()  # noqa: RUF012 - never changed in place

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.cases + other.cases,
            self.pdus + other.pdus,
            self.answers + other.answers,
            self.statuses + other.statuses,
        )


def run_case(loop: VirtualLoop, place: Place, case: Case) -> Tally:
    """Raises whatever is found, with the command that repeats it."""
    try:
        return play(loop, place, Seeded(case.seed), case.pdus)
    except BaseException as error:
        error.add_note(f"{case}, to repeat it: {case.command}")
        raise


def play(loop: VirtualLoop, place: Place, choices: Choices, pdus: int) -> Tally:
    """One case with these choices."""
    with World(loop, place, choices) as world:
        world.run(pdus)
        aftermath.check(world)
        statuses: Counter[int] = Counter()
        for (_, _, status), count in world.statuses.items():
            statuses[status] += count
        return Tally(1, world.pdus, world.answers, statuses)


def run_campaign(
    directory: Path, first_seed: int, pdus: int, *, case_pdus: int = CASE_PDUS, say: Callable[[str], None] = print
) -> Tally:
    """Cases with the seeds from ``first_seed`` on until that many PDUs were sent. Raises as ``run_case``.

    A line of progress every half minute.
    """
    loop, place = VirtualLoop(), Place.within(directory)
    total, seed, grown = Tally(), first_seed, Growth()
    started = told = time.monotonic()
    try:
        while total.pdus < pdus:
            case = Case(seed, min(case_pdus, pdus - total.pdus))
            total = total.plus(run_case(loop, place, case))
            seed += 1
            grown.after(total.cases)
            now = time.monotonic()
            if now - told >= _PROGRESS_S:
                told = now
                rate = total.pdus / (now - started)
                say(f"{total.pdus} of {pdus} PDUs in {total.cases} cases, {rate:.0f} a second, {grown}")
    finally:
        loop.close()
    say(f"{total.pdus} PDUs in {total.cases} cases, {total.answers} answers, statuses {dict(total.statuses)}, {grown}")
    return total


class Growth:
    """Resident memory of this process since it was warm. Raises ``Wrong`` beyond the limit."""

    def __init__(self) -> None:
        self._warm_bytes = 0
        self._now_bytes = 0

    def after(self, cases: int) -> None:
        """Looks once every few cases."""
        if cases % _WARM_CASES:
            return
        gc.collect()
        self._now_bytes = _resident_bytes()
        self._warm_bytes = self._warm_bytes or self._now_bytes
        if self._now_bytes - self._warm_bytes > _GROWTH_BYTES_MAX:
            raise Wrong(f"resident memory: {self}")

    def __str__(self) -> str:
        return f"{self._warm_bytes >> 20} MiB resident at first, {self._now_bytes >> 20} MiB now"


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
