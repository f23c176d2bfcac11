"""Which faults a recorded run had, as a plan of the library's faults: a pure function of its events.

All that happened counts: injections (of ``cluster.inject``, ``hil fault``, a plan), and what the bench's verbs did
(:mod:`hil.evidence.reading`). A fault has the kind and the parameters that it had; a role is the nodes that it came to.
Times count since the beginning: the moment at which all nodes had joined, if there was no fault before: how long a
boot takes says nothing about a fault. Else it is power on. For the same reason the plan knows when all had joined
again after some had been down, who had panicked, and that its faults had struck: what came later waits for that
(:mod:`hil.faults.pace`).

Whoever has panicked stays down until somebody switches the machine off and on: as in the recording, that is a fault
``power-off`` then, which waits for the panic of this time. What the library does not have is left
out, and said so. A plan's operator, who switches on whoever has panicked, is there again instead, if nobody else did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from hil.evidence.found import ALL
from hil.evidence.reading import Reading
from hil.faults.plan import FaultPlan, Step

if TYPE_CHECKING:
    from hil.evidence.found import Found
    from hil.view import Event

POWER_ON, JOINED = "power-on", "joined"

AFTER_MS: Final = 60_000
"""So long after the last fault a run may still be needed to fail; whoever left a cluster alone for hours did not."""

NAME: Final = "recorded"


@dataclass(frozen=True)
class Derived:
    """The faults of one run."""

    plan: FaultPlan
    begins: str
    """From when its times count: ``power-on``, or ``joined``: when all nodes were."""
    master: int | None = None
    """Who was the master when all had joined, if that is the beginning."""
    left_out: tuple[str, ...] = ()
    """What happened and is played in another way, or not at all, and why."""

    def scaled(self, factor: float) -> Derived:
        """All times multiplied: for a cluster whose own times are. Parameters stay as they are."""
        steps = tuple(
            replace(one, at_ms=round(one.at_ms * factor), for_ms=max(min(1, one.for_ms), round(one.for_ms * factor)))
            for one in self.plan.steps
        )
        rejoined_ms = tuple(round(one * factor) for one in self.plan.rejoined_ms)
        crashed_ms = tuple((round(one * factor), node) for one, node in self.plan.crashed_ms)
        until_ms = round(self.plan.until_ms * factor)
        plan = replace(self.plan, until_ms=until_ms, steps=steps, rejoined_ms=rejoined_ms, crashed_ms=crashed_ms)
        return replace(self, plan=plan)

    def with_master(self, master: int) -> Derived:
        """The same for a cluster in which another node is the master: the two change places."""
        if self.master is None or self.master == master:
            return self
        names = {self.master: master, master: self.master}
        steps = tuple(_renamed(one, names) for one in self.plan.steps)
        crashed_ms = tuple((at_ms, names.get(node, node)) for at_ms, node in self.plan.crashed_ms)
        return replace(self, plan=replace(self.plan, steps=steps, crashed_ms=crashed_ms))


def _renamed(step: Step, names: dict[int, int]) -> Step:
    def of(value: Any) -> Any:
        return [of(one) for one in value] if isinstance(value, list) else names.get(value, value)

    numbers = [] if step.whom == ALL else [int(node) for node in step.whom.split(",")]
    whom = ",".join(map(str, sorted(of(numbers)))) or ALL
    given = {name: of(value) if name in ("others", "groups") else value for name, value in step.parameters.items()}
    return replace(step, whom=whom, parameters=given)


def derive(events: Sequence[Event], nodes: int) -> Derived:
    """The faults of a run of that many nodes. Raises one of ``hil.view.MALFORMED`` for events that cannot be."""
    reading = _read(events, nodes, operator=True)
    operator = reading.operated and not reading.revived
    if reading.operated and not operator:  # he is only for part of the run
        reading = _read(events, nodes, operator=False)
    found = _together(reading.found)
    first_s = min((one.at_s for one in found), default=reading.end_s)
    joined = bool(reading.joined_s) and reading.joined_s[0] <= first_s
    zero_s = (reading.joined_s[0] if joined else reading.began_s) or 0.0
    last_s = max((one.at_s if one.end_s is None else one.end_s for one in found), default=zero_s)
    end_s = max(last_s, min(reading.end_s, last_s + AFTER_MS / 1000))
    until_ms = max(1, round((end_s - zero_s) * 1000) + 1)
    steps = sorted((one.step(nodes, zero_s, until_ms) for one in found), key=lambda step: step.at_ms)
    plan = FaultPlan(
        NAME,
        until_ms,
        tuple(steps),
        operator=operator,
        rejoined_ms=_rejoined_ms(reading, zero_s, until_ms),
        # Whom an operator revives is there again: who panics then is another matter in each run.
        crashed_ms=() if operator else _crashed_ms(reading, zero_s, until_ms),
        recorded=True,
    )
    return Derived(
        plan,
        JOINED if joined else POWER_ON,
        reading.master if joined else None,
        tuple(reading.left_out),
    )


def _read(events: Sequence[Event], nodes: int, *, operator: bool) -> Reading:
    reading = Reading(nodes, operator=operator)
    for event in events:
        if event["kind"] == "bench-stopping":  # what follows is the end of the machines
            reading.end_s = event["t"]
            break
        reading.take(event)
    reading.finish()
    return reading


def _rejoined_ms(reading: Reading, zero_s: float, until_ms: int) -> tuple[int, ...]:
    moments = {round((joined_s - zero_s) * 1000) for joined_s in reading.joined_s}
    return tuple(sorted(one for one in moments if 0 < one < until_ms))


def _crashed_ms(reading: Reading, zero_s: float, until_ms: int) -> tuple[tuple[int, int], ...]:
    moments = [(round((at_s - zero_s) * 1000), node) for at_s, node in reading.crashed_s]
    return tuple((at_ms, node) for at_ms, node in moments if 0 < at_ms < until_ms)


def _together(found: Sequence[Found]) -> list[Found]:
    """Those that lost power at the same instant, and had it again at the same, are one fault."""
    made: list[Found] = []
    lost: dict[tuple[float, float | None], Found] = {}
    for one in found:
        other = lost.get((one.at_s, one.end_s)) if one.kind == "power-off" else None
        if other is None:
            made.append(one)
            if one.kind == "power-off":
                lost[one.at_s, one.end_s] = one
        else:
            other.nodes = tuple(sorted({*other.nodes, *one.nodes}))
    return made
