"""What is smaller than a run: of each kind of thing, and of one thing at a time (:mod:`hil.sim.shrink`).

Each function is asked for thing number ``index``: it returns the smaller runs, the smallest first, or None if there is
no such thing any more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from hil.sim.case import Case
from hil.sim.options import Options, calm, differing
from hil.sim.plan import Fault, Plan

_KEPT: Final = ("preset", "seed", "nodes", "converge_ms", "quiet_ms")
"""Options that are no matter of chance."""


def fewer_nodes(case: Case, index: int) -> list[Case] | None:
    """The named ones get the lowest numbers, so the size can be what it will; then each one by itself."""
    count = case.options.nodes
    if index == 0:
        named = sorted({number for fault in case.plan.faults for number in fault.numbers()})
        order = named + [number for number in range(count) if number not in named]
        return [with_nodes(case, order[:size]) for size in range(max(2, len(named)), count)]
    left_out = count - index
    if left_out < 0 or count == 2:
        return None
    return [with_nodes(case, [number for number in range(count) if number != left_out])]


def fewer_named(case: Case, index: int) -> list[Case] | None:
    """A fault of several nodes becomes one of fewer."""
    if index >= len(case.plan.faults):
        return None
    fault = case.plan.faults[index]
    fewer: list[Case] = []
    for name in ("nodes", "others"):
        numbers: tuple[int, ...] = getattr(fault, name) or ()
        for left_out in numbers if len(numbers) > 1 else ():
            changes: Any = {name: tuple(number for number in numbers if number != left_out)}
            fewer.append(_with_fault(case, index, replace(fault, **changes)))
    return fewer


def less_chance(case: Case, index: int) -> list[Case] | None:
    """All options calm at once, then each."""
    names = chances(case.options)
    some = names if index == 0 else names[index - 1 : index]
    if index > len(names) or not names:
        return None
    usual = calm()
    changes: dict[str, Any] = {name: getattr(usual, name) for name in some}
    smaller = [replace(case, options=replace(case.options, **changes))]
    if "programs" in some and case.options.programs > 1:
        smaller.append(replace(case, options=replace(case.options, programs=case.options.programs - 1)))
    if "services" in some:
        fewer = [replace(case.options, services=count) for count in range(1, case.options.services)]
        smaller += [replace(case, options=options) for options in fewer]
    return smaller


def shorter_fault(case: Case, index: int) -> list[Case] | None:
    if index >= len(case.plan.faults):
        return None
    fault = case.plan.faults[index]
    return [_with_fault(case, index, replace(fault, for_ms=ms)) for ms in _less(fault.for_ms, fault.shortest_ms)]


def sooner(case: Case, index: int) -> list[Case] | None:
    """A fault, and all after it, closer to the one before."""
    faults = case.plan.faults
    if index >= len(faults):
        return None
    fault, last_ms = faults[index], faults[index - 1].at_ms if index else 0
    smaller = []
    for gap_ms in _less(fault.at_ms - last_ms, 0):
        by_ms = fault.at_ms - last_ms - gap_ms
        moved = tuple(replace(one, at_ms=one.at_ms - by_ms) for one in faults[index:])
        smaller.append(replace(case, plan=Plan(max(1, case.plan.until_ms - by_ms), faults[:index] + moved)))
    return smaller


def shorter_run(case: Case, index: int) -> list[Case] | None:
    """It ends with its last fault, or soon after that begins."""
    if index:
        return None
    last_ms = max((fault.end_ms for fault in case.plan.faults), default=1)
    first_ms = max((fault.at_ms for fault in case.plan.faults), default=0) + 1
    ends_ms = sorted({max(first_ms, last_ms), *_less(case.plan.until_ms, first_ms)})
    return [replace(case, plan=replace(case.plan, until_ms=ms)) for ms in ends_ms if ms < case.plan.until_ms]


def rounder(case: Case, index: int) -> list[Case] | None:
    """Times that are easy to read, where it makes no difference."""
    if index > len(case.plan.faults):
        return None
    if index == len(case.plan.faults):
        until_ms = case.plan.until_ms
        return [replace(case, plan=replace(case.plan, until_ms=_round_up(until_ms, unit))) for unit in _units(until_ms)]
    fault = case.plan.faults[index]
    lasts = [replace(fault, for_ms=_round_up(fault.for_ms, unit)) for unit in _units(fault.for_ms)]
    strikes = [replace(fault, at_ms=round(fault.at_ms / unit) * unit) for unit in _units(fault.at_ms)]
    return [_with_fault(case, index, one) for one in (*lasts, *strikes)]


def _units(value_ms: int) -> tuple[int, ...]:
    return (1000, 100) if value_ms % 100 else ()


def _round_up(value_ms: int, unit_ms: int) -> int:
    return -(-value_ms // unit_ms) * unit_ms


def chances(options: Options) -> list[str]:
    """Those options that are not calm and could be."""
    return [name for name in differing(options) if name not in _KEPT]


def _less(value: int, least: int) -> list[int]:
    """Some numbers from ``least`` up to below ``value``; the last is so close that nothing worth it is missed."""
    room = value - least
    return sorted({least, *(least + room * part // 16 for part in (4, 8, 12))}) if room > 10 else []


def _with_fault(case: Case, index: int, fault: Fault) -> Case:
    faults = (*case.plan.faults[:index], fault, *case.plan.faults[index + 1 :])
    return case.with_faults(tuple(sorted(faults, key=lambda one: one.at_ms)))


def with_nodes(case: Case, kept: list[int]) -> Case:
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
