"""What became of each claim about a recorded run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ruling:
    """One claim. ``violation`` None and nothing in ``lacks``: it held."""

    name: str
    """The file of the claim, such as one_owner."""
    claim: str
    violation: str | None = None
    place: str = ""
    """Where in the recording."""
    causes: tuple[str, ...] = ()
    """What led to it, oldest first."""
    lacks: tuple[str, ...] = ()
    """The observations that it needs and this run does not have: it was not judged."""
    without: tuple[str, ...] = ()
    """Observations with which it would be judged by more."""

    @property
    def outcome(self) -> str:
        """violated, not judged or held."""
        return "violated" if self.violation is not None else "not judged" if self.lacks else "held"

    def as_dict(self) -> dict[str, Any]:
        """Keys are stable."""
        return {
            "name": self.name,
            "claim": self.claim,
            "outcome": self.outcome,
            "violation": self.violation,
            "place": self.place,
            "causes": list(self.causes),
            "lacks": list(self.lacks),
            "without": list(self.without),
        }


@dataclass(frozen=True)
class Judgement:
    """All claims about one run. ``notes``: what of the recording could not be used, and why."""

    where: str
    rulings: tuple[Ruling, ...]
    events: int
    commands: int
    notes: tuple[str, ...] = field(default=())

    @property
    def violated(self) -> list[Ruling]:
        """The claims that do not hold."""
        return [ruling for ruling in self.rulings if ruling.outcome == "violated"]

    @property
    def command(self) -> str:
        """What to type to see all of it again."""
        return f"hil recheck {self.where}"

    def as_dict(self) -> dict[str, Any]:
        """Keys are stable."""
        return {
            "run": self.where,
            "passed": not self.violated,
            "events": self.events,
            "disk_commands": self.commands,
            "claims": [ruling.as_dict() for ruling in self.rulings],
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """For people: what is violated in full, then a line for each claim."""
        told = [line for ruling in self.violated for line in violation_lines(ruling)]
        told += [_line(ruling) for ruling in self.rulings]
        told += [f"note: {note}" for note in self.notes]
        return told

    def failure(self) -> str:
        """Of a scenario that has violated a claim: which, what led to it, and the command."""
        return "\n".join([*(line for ruling in self.violated for line in violation_lines(ruling)), self.command])


def violation_lines(ruling: Ruling) -> Sequence[str]:
    """A claim that does not hold, what led to it, oldest first."""
    at = f" ({ruling.place})" if ruling.place else ""
    told = [f"{ruling.name}: {ruling.claim}: VIOLATED{at}", f"  {ruling.violation}"]
    if ruling.causes:
        told += ["  what led to it:", *(f"    {cause}" for cause in ruling.causes)]
    return told


def _line(ruling: Ruling) -> str:
    more = ""
    if ruling.outcome == "not judged":
        more = f"; lacks {', '.join(ruling.lacks)}"
    elif ruling.without:
        more = f"; without {', '.join(ruling.without)}"
    return f"{ruling.outcome:<10} {ruling.name}: {ruling.claim}{more}"
