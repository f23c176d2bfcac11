"""Reduces a run that fails to what it takes: fewer faults, fewer nodes, less chance, shorter, until nothing can go.

A step is taken when the smaller run breaks the same claim. The faults are reduced by delta debugging
(:mod:`hil.sim.ddmin`), everything else by trying what is smaller, the smallest first; a round of all steps that changes
nothing is the end. A smaller run that passes is tried with a few other seeds: what has been left out may have moved a
datagram by a millisecond, and the luck that the failure takes is somewhere else then. The plan stays the same by that:
no fault is drawn anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from hil.errors import UsageError
from hil.sim.case import Case
from hil.sim.ddmin import ddmin
from hil.sim.options import calm
from hil.sim.plan import Plan
from hil.sim.run import CONVERGES, QUIET, Result
from hil.sim.smaller import (
    chances,
    fewer_named,
    fewer_nodes,
    less_chance,
    rounder,
    shorter_fault,
    shorter_run,
    sooner,
)

OTHER_SEEDS: Final = 2
_CONVERGE_MS, _QUIET_MS = 8000, 500
_SEED_STEP: Final = 1_000_000
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Shrunk:
    """``before`` and ``after``: what fails; ``result``: of ``after``, with its story; ``runs``: how many it took."""

    before: Case
    after: Case
    result: Result
    runs: int
    wall_s: float


def broken(result: Result) -> object:
    """What a run is judged by unless somebody knows better: the claim, and what guestd raised; None if it passed."""
    return None if result.passed else (result.claim, result.error)


def shrink(case: Case, progress: Progress = lambda _line: None, judge: Callable[[Result], object] = broken) -> Shrunk:
    """The smallest case that ``judge`` says the same of as of this one.

    ``progress`` hears of each smaller one. Raises :class:`hil.errors.UsageError` where ``judge`` says None: it passes.
    """
    began = time.monotonic()
    shrinker = _Shrinker(case, progress, judge)
    shrinker.shrink()
    after = shrinker.case
    return Shrunk(case, after, after.run(recording=True), shrinker.runs, time.monotonic() - began)


class _Shrinker:
    """``case`` is the smallest so far that fails."""

    def __init__(self, case: Case, progress: Progress, judge: Callable[[Result], object]) -> None:
        self.case = case
        self._judge = judge
        self.runs = 0
        self._progress = progress
        self._known: dict[Case, bool] = {}
        result = self._run(case)
        self._wanted = judge(result)
        if self._wanted is None:
            raise UsageError(f"seed {case.options.seed} passes: there is nothing to shrink")
        self._claim = result.claim
        self._failed_ms = result.simulated_ms
        self._known[case] = True

    def shrink(self) -> None:
        """All steps, until a round of them changes nothing."""
        self._say("begun")
        self._forget_the_future()
        self._wait_less()
        # Most of the faults can go without any other seed, and each question costs a run of full length here.
        self._leave_out_faults(self._fails_as_it_is)
        before = None
        while self.case != before:
            before = self.case
            self._leave_out_faults(self._accept)
            self._take(fewer_nodes, self._accept)
            self._take(fewer_named, self._accept)
            self._take(less_chance, self._accept)
            self._take(shorter_fault, self._fails_as_it_is)
            self._take(sooner, self._fails_as_it_is)
            self._take(shorter_run, self._fails_as_it_is)
        self._take(rounder, self._fails_as_it_is)
        self._leave_out_faults(self._fails_as_it_is)
        self._wait_as_usual()

    # -- asking

    def _run(self, case: Case) -> Result:
        self.runs += 1
        return case.run()

    def _fails(self, case: Case) -> bool:
        """Whether it breaks the claim that is looked for."""
        if case not in self._known:
            result = self._run(case)
            self._known[case] = self._judge(result) == self._wanted
        return self._known[case]

    def _accept(self, case: Case) -> bool:
        """Whether that, or the same with another seed, fails; if so it is the smallest so far."""
        seeds = [case.options.seed + number * _SEED_STEP for number in range(1 + OTHER_SEEDS)]
        tried = (replace(case, options=replace(case.options, seed=seed)) for seed in seeds)
        return any(self._fails_as_it_is(one) for one in tried)

    def _fails_as_it_is(self, case: Case) -> bool:
        """The same, with no other seed."""
        if not self._fails(case):
            return False
        self.case = case
        self._say("smaller")
        return True

    def _take(self, smaller: Callable[[Case, int], list[Case] | None], accept: Callable[[Case], bool]) -> None:
        """One thing after the other, each as small as it gets. ``smaller``: of the case and which thing; None: no more.

        The list begins with the smallest; what one thing has left of another is for the next round.
        """
        index = 0
        while (candidates := smaller(self.case, index)) is not None:
            if not any(candidate != self.case and accept(candidate) for candidate in candidates):
                index += 1

    def _say(self, what: str) -> None:
        plan, options = self.case.plan, self.case.options
        self._progress(
            f"{what}: {len(plan.faults)} faults, {options.nodes} nodes, {len(chances(options))} options that are not"
            f" calm, {plan.until_ms} ms of faults ({self.runs} runs)"
        )

    # -- steps

    def _forget_the_future(self) -> None:
        """What comes after the failure has no part in it, nor has the end of the faults, if that comes after it."""
        plan = self.case.plan
        faults = tuple(fault for fault in plan.faults if fault.at_ms <= self._failed_ms)
        self._fails_as_it_is(replace(self.case, plan=Plan(min(plan.until_ms, self._failed_ms + 1), faults)))

    def _wait_less(self) -> None:
        """Most smaller runs pass: they need not be given as long to come together, unless that is the claim."""
        options = self.case.options
        if self._claim not in (CONVERGES, QUIET):
            shorter = replace(options, converge_ms=round(_CONVERGE_MS * options.timing_factor), quiet_ms=_QUIET_MS)
            self._fails_as_it_is(replace(self.case, options=shorter))

    def _wait_as_usual(self) -> None:
        usual = calm()
        waiting = replace(self.case.options, converge_ms=usual.converge_ms, quiet_ms=usual.quiet_ms)
        self._fails_as_it_is(replace(self.case, options=waiting))

    def _leave_out_faults(self, accept: Callable[[Case], bool]) -> None:
        ddmin(self.case.plan.faults, lambda faults: accept(self.case.with_faults(tuple(faults))))
