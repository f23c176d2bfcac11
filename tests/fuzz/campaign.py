"""Many cases, one after the other. A case is a value: a seed and a number of PDUs; a failure says how to repeat it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.fuzz import aftermath
from tests.fuzz.choices import Choices, Seeded
from tests.fuzz.progress import Progress
from tests.fuzz.virtual_loop import VirtualLoop
from tests.fuzz.world import Place, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CASE_PDUS: Final = 1000


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


def run_case(loop: VirtualLoop, place: Place, case: Case, watch: Callable[[int], None] = lambda pdus: None) -> Tally:
    """Raises whatever is found, with the command that repeats it. ``watch`` gets the count of PDUs after each step."""
    try:
        return play(loop, place, Seeded(case.seed), case.pdus, watch)
    except BaseException as error:
        error.add_note(f"{case}, to repeat it: {case.command}")
        raise


def play(
    loop: VirtualLoop, place: Place, choices: Choices, pdus: int, watch: Callable[[int], None] = lambda pdus: None
) -> Tally:
    """One case with these choices."""
    with World(loop, place, choices) as world:
        world.run(pdus, watch)
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
    total, progress = Tally(), Progress(pdus, say)
    try:
        while total.pdus < pdus:
            before = total.pdus
            case = Case(first_seed + total.cases, min(case_pdus, pdus - before))
            total = total.plus(run_case(loop, place, case, lambda sent, before=before: progress.at(before + sent)))  # type: ignore[misc]
    finally:
        loop.close()
    statuses = {f"{status:02x}h": total.statuses[status] for status in sorted(total.statuses)}
    say(f"{total.pdus} PDUs in {total.cases} cases, {total.answers} answers, by status {statuses}, {progress}")
    return total
