"""Reduces a run that fails to what it takes: fewer faults, fewer nodes, less chance, shorter, until nothing can go.

A step is taken when the smaller run breaks the same claim. The faults are reduced by delta debugging
(:mod:`hil.sim.ddmin`), everything else by trying what is smaller, the smallest first; a round of all steps that changes
nothing is the end. A smaller run that passes is tried with a few other seeds: what has been left out may have moved a
datagram by a millisecond, and the luck that the failure takes is somewhere else then. The plan stays the same by that:
no fault is drawn anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from hil.errors import UsageError
from hil.sim.case import Case
from hil.sim.ddmin import ddmin
from hil.sim.options import Options, calm, differing
from hil.sim.plan import Fault, Plan
from hil.sim.run import Result

OTHER_SEEDS: Final = 3
_SEED_STEP: Final = 1_000_000
_KEPT: Final = ("preset", "seed", "nodes")
"""Options that are no matter of chance."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Shrunk:
    """``before`` and ``after``: what fails; ``result``: of ``after``, with its story; ``runs``: how many it took."""

    before: Case
    after: Case
    result: Result
    runs: int
    wall_s: float


def shrink(case: Case, progress: Progress = lambda _line: None) -> Shrunk:
    """Raises :class:`hil.errors.UsageError` for a run that passes. ``progress`` hears of each smaller one."""
    began = time.monotonic()
    shrinker = _Shrinker(case, progress)
    shrinker.shrink()
    after = shrinker.case
    return Shrunk(case, after, after.run(recording=True), shrinker.runs, time.monotonic() - began)


class _Shrinker:
    """``case`` is the smallest so far that fails."""

    def __init__(self, case: Case, progress: Progress) -> None:
        self.case = case
        self.runs = 0
        self._progress = progress
        self._known: dict[Case, bool] = {}
        result = self._run(case)
        if result.passed:
            raise UsageError(f"seed {case.options.seed} passes: there is nothing to shrink")
        self._wanted = (result.claim, result.error)
        self._failed_ms = result.simulated_ms
        self._known[case] = True

    def shrink(self) -> None:
        """All steps, until a round of them changes nothing."""
        self._say("begun")
        self._forget_the_future()
        # Most of the faults can go without any other seed, and each question costs a run of full length here.
        self._leave_out_faults(self._fails_as_it_is)
        before = None
        while self.case != before:
            before = self.case
            self._leave_out_faults(self._accept)
            self._take(self._fewer_nodes)
            self._take(self._fewer_named)
            self._take(self._less_chance)
            self._take(self._shorter_faults)
            self._take(self._sooner)
            self._take(self._shorter)
        self._take(self._rounder)
        self._leave_out_faults(self._accept)
        self._take(self._less_chance)

    # -- asking

    def _run(self, case: Case) -> Result:
        self.runs += 1
        return case.run()

    def _fails(self, case: Case) -> bool:
        """Whether it breaks the claim that is looked for."""
        if case not in self._known:
            result = self._run(case)
            self._known[case] = (result.claim, result.error) == self._wanted
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

    def _take(self, smaller: Callable[[Case], Iterator[Case]]) -> None:
        """The first of the smaller ones that fails, and again from there, until none does."""
        while any(candidate != self.case and self._accept(candidate) for candidate in smaller(self.case)):
            pass

    def _say(self, what: str) -> None:
        plan, options = self.case.plan, self.case.options
        self._progress(
            f"{what}: {len(plan.faults)} faults, {options.nodes} nodes, {len(_chances(options))} options that are not"
            f" calm, {plan.until_ms} ms of faults ({self.runs} runs)"
        )

    # -- steps

    def _forget_the_future(self) -> None:
        """What comes after the failure has no part in it, nor has the end of the faults, if that comes after it."""
        plan = self.case.plan
        faults = tuple(fault for fault in plan.faults if fault.at_ms <= self._failed_ms)
        self._fails_as_it_is(replace(self.case, plan=Plan(min(plan.until_ms, self._failed_ms + 1), faults)))

    def _leave_out_faults(self, accept: Callable[[Case], bool]) -> None:
        ddmin(self.case.plan.faults, lambda faults: accept(self.case.with_faults(tuple(faults))))

    @staticmethod
    def _fewer_nodes(case: Case) -> Iterator[Case]:
        """The named ones get the lowest numbers, so the size can be what it will; then each one by itself."""
        named = sorted({number for fault in case.plan.faults for number in fault.numbers()})
        order = named + [number for number in range(case.options.nodes) if number not in named]
        for size in range(max(2, len(named)), case.options.nodes):
            yield _with_nodes(case, order[:size])
        for left_out in reversed(range(case.options.nodes) if case.options.nodes > 2 else ()):
            yield _with_nodes(case, [number for number in range(case.options.nodes) if number != left_out])

    @staticmethod
    def _fewer_named(case: Case) -> Iterator[Case]:
        """A fault of several nodes becomes one of fewer."""
        for index, fault in enumerate(case.plan.faults):
            for name in ("nodes", "others"):
                numbers: tuple[int, ...] = getattr(fault, name) or ()
                if len(numbers) > 1:
                    for left_out in numbers:
                        fewer: Any = {name: tuple(number for number in numbers if number != left_out)}
                        yield _with_fault(case, index, replace(fault, **fewer))

    @staticmethod
    def _less_chance(case: Case) -> Iterator[Case]:
        """All options calm, then each."""
        usual = calm()
        names = _chances(case.options)
        for some in [names, *([name] for name in names)]:
            yield replace(case, options=replace(case.options, **{name: getattr(usual, name) for name in some}))
        if case.options.programs > 1:
            yield replace(case, options=replace(case.options, programs=case.options.programs - 1))

    @staticmethod
    def _shorter_faults(case: Case) -> Iterator[Case]:
        for index, fault in enumerate(case.plan.faults):
            for for_ms in _less(fault.for_ms, fault.shortest_ms):
                yield _with_fault(case, index, replace(fault, for_ms=for_ms))

    @staticmethod
    def _sooner(case: Case) -> Iterator[Case]:
        """Each fault, and all after it, closer to the one before."""
        faults = case.plan.faults
        last_ms = 0
        for index, fault in enumerate(faults):
            for gap_ms in _less(fault.at_ms - last_ms, 0):
                by_ms = fault.at_ms - last_ms - gap_ms
                moved = tuple(replace(one, at_ms=one.at_ms - by_ms) for one in faults[index:])
                until_ms = max(1, case.plan.until_ms - by_ms)
                yield replace(case, plan=Plan(until_ms, faults[:index] + moved))
            last_ms = fault.at_ms

    @staticmethod
    def _shorter(case: Case) -> Iterator[Case]:
        """The run ends with its last fault, or soon after it begins."""
        last_ms = max((fault.end_ms for fault in case.plan.faults), default=1)
        first_ms = max((fault.at_ms for fault in case.plan.faults), default=0) + 1
        for until_ms in sorted({min(last_ms, case.plan.until_ms), *_less(case.plan.until_ms, first_ms)}):
            if first_ms <= until_ms < case.plan.until_ms:
                yield replace(case, plan=replace(case.plan, until_ms=until_ms))

    @staticmethod
    def _rounder(case: Case) -> Iterator[Case]:
        """Times that are easy to read, where it makes no difference."""
        for unit_ms in (1000, 100):
            for index, fault in enumerate(case.plan.faults):
                for_ms = max(fault.shortest_ms, -(-fault.for_ms // unit_ms) * unit_ms)
                if for_ms != fault.for_ms and fault.for_ms % 100:
                    yield _with_fault(case, index, replace(fault, for_ms=for_ms))
                at_ms = round(fault.at_ms / unit_ms) * unit_ms
                if fault.at_ms % 100:
                    yield _with_fault(case, index, replace(fault, at_ms=at_ms))
            if case.plan.until_ms % 100:
                until_ms = -(-case.plan.until_ms // unit_ms) * unit_ms
                yield replace(case, plan=replace(case.plan, until_ms=until_ms))


def _chances(options: Options) -> list[str]:
    """Those options that are not calm and could be."""
    return [name for name in differing(options) if name not in _KEPT]


def _less(value: int, least: int) -> list[int]:
    """Some numbers from ``least`` up to below ``value``; the last is so close that nothing worth it is missed."""
    room = value - least
    return sorted({least, *(least + room * part // 16 for part in (1, 2, 4, 8, 12))}) if room > 10 else []


def _with_fault(case: Case, index: int, fault: Fault) -> Case:
    faults = (*case.plan.faults[:index], fault, *case.plan.faults[index + 1 :])
    return case.with_faults(tuple(sorted(faults, key=lambda one: one.at_ms)))


def _with_nodes(case: Case, kept: list[int]) -> Case:
    """A cluster of those nodes only, which are numbered anew; a fault that strikes none of them is left out."""
    renumbered = {number: index for index, number in enumerate(kept)}
    faults = [_of_nodes(fault, renumbered) for fault in case.plan.faults]
    plan = replace(case.plan, faults=tuple(fault for fault in faults if fault is not None))
    return Case(replace(case.options, nodes=len(kept)), plan)


def _of_nodes(fault: Fault, renumbered: dict[int, int]) -> Fault | None:
    changes: dict[str, Any] = {}
    if isinstance(fault.node, int):
        if fault.node not in renumbered:
            return None
        changes["node"] = renumbered[fault.node]
    for name in ("nodes", "others"):
        numbers = getattr(fault, name)
        if numbers is not None:
            changes[name] = tuple(renumbered[number] for number in numbers if number in renumbered)
            if not changes[name]:
                return None
    if fault.groups is not None:
        groups = [tuple(renumbered[number] for number in group if number in renumbered) for group in fault.groups]
        changes["groups"] = tuple(group for group in groups if group)
        if len(changes["groups"]) < 2:
            return None
    return replace(fault, **changes)
