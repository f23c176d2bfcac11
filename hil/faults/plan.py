"""A plan of the library's faults: which, when, on whom, how long; drawn from a seed where that is left open.

A plan is read from a file (:mod:`hil.faults.plan_file`), made of one of the simulator (:mod:`hil.sim.plan`), or
derived from the events of a run (:mod:`hil.evidence.derive`). :mod:`hil.play` carries it out. What is drawn depends on
the plan and the seed alone, so it is the same on both back ends.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from hil.errors import UsageError
from hil.faults import library
from hil.faults.whom import parsed
from hil.plan_table import plan_table

_RECORDED: Final = ("rejoined_ms", "crashed_ms", "recorded")

OPERATOR_S: Final = 0.5
"""How often a plan's operator looks for machines that are off."""


@dataclass(frozen=True)
class Step:
    """One fault of a plan: it begins at ``at_ms`` since the beginning, and is healed ``for_ms`` later."""

    kind: str
    whom: str
    at_ms: int
    for_ms: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    drawn: bool = False
    """Chance has chosen it, or nobody knows that it has struck: that it finds nobody to strike is chance, too."""
    seed: str | None = None
    """Decides between nodes that are in the same role; None: the lowest-numbered is struck."""

    @property
    def end_ms(self) -> int:
        """When it is healed."""
        return self.at_ms + self.for_ms

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what it is, without how it was drawn."""
        return {
            "fault": self.kind,
            "whom": self.whom,
            "at_ms": self.at_ms,
            "for_ms": self.for_ms,
            "parameters": dict(self.parameters),
        }

    @property
    def whom_and_how(self) -> str:
        """With its parameters, for people."""
        return " ".join([self.whom, *(f"{name}={value}" for name, value in self.parameters.items())])

    def __str__(self) -> str:
        return f"{self.kind} {self.whom_and_how} at {self.at_ms} ms for {self.for_ms} ms"


@dataclass(frozen=True)
class FaultPlan:
    """``steps`` in the order in which they begin; at ``until_ms`` all that is in force is healed."""

    name: str
    until_ms: int
    steps: tuple[Step, ...] = ()
    operator: bool = True
    """Somebody switches on again whoever is off and is not kept off by the plan."""
    seed: int = 0
    rejoined_ms: tuple[int, ...] = ()
    """When all nodes had joined again: what comes later waits for that (:mod:`hil.faults.pace`)."""
    crashed_ms: tuple[tuple[int, int], ...] = ()
    """When which node had panicked: what comes later waits for that, too."""
    recorded: bool = False
    """It is of a run in which all had struck that was not ``drawn``: none of those is over before it has struck."""

    def check(self, nodes: int, backend: str | None) -> None:
        """Raises :class:`UsageError` unless a cluster of so many nodes can have it, on that back end (None: on any)."""
        for step in self.steps:
            try:
                parsed(step.whom, nodes)
                values = library.check(step.kind, step.parameters, backend)
                named = [*values.get("others", []), *(node for group in values.get("groups", []) for node in group)]
                if beyond := [node for node in named if node >= nodes]:
                    raise UsageError(f"fault {step.kind}: no node {beyond[0]}; there are 0 to {nodes - 1}")
            except UsageError as error:
                raise UsageError(f"plan {self.name}: at {step.at_ms} ms: {error}") from None

    def as_dict(self) -> dict[str, Any]:
        """For the event ``fault-plan``."""
        about = asdict(self) | {"steps": [asdict(step) for step in self.steps]}
        return {key: value for key, value in about.items() if key not in _RECORDED or value}

    def table(self) -> list[str]:
        """One line for each fault, for people."""
        rows = [(step.at_ms, step.kind, step.for_ms, step.whom_and_how) for step in self.steps]
        return plan_table(rows, self.until_ms)


@dataclass(frozen=True)
class Choice:
    """One of the faults of which a plan draws: each of its lists is what one value is drawn from."""

    kind: str
    whom: tuple[str, ...]
    weight: int
    for_ms: tuple[int, int]
    parameters: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Drawing:
    """When faults are drawn: ``every_ms`` on average from the end of one to the beginning of the next."""

    every_ms: int
    from_ms: int
    choices: tuple[Choice, ...]


def draw(drawing: Drawing, until_ms: int, seed: int) -> list[Step]:
    """One after the other; none is cut short by the end of the plan."""
    randomness = random.Random(f"fault plan {seed}")
    weights = [choice.weight for choice in drawing.choices]
    steps: list[Step] = []
    at_ms = drawing.from_ms
    while True:
        at_ms += int(randomness.expovariate(1 / drawing.every_ms))
        chosen = randomness.choices(drawing.choices, weights)[0]
        for_ms = randomness.randint(*chosen.for_ms)
        whom = randomness.choice(chosen.whom)
        parameters = {name: randomness.choice(values) for name, values in chosen.parameters.items()}
        if at_ms + for_ms > until_ms:
            return steps
        drawn = f"fault {len(steps)} of {seed}"
        steps.append(Step(chosen.kind, whom, at_ms, for_ms, parameters, drawn=True, seed=drawn))
        at_ms += for_ms
