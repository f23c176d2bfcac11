"""The searches that find nothing: which protocols within which bounds, and the table of docs/election.md.

`HIL_MODEL=deep` adds searches of minutes and gigabytes.
"""

from __future__ import annotations

import os
from functools import cache
from typing import NamedTuple

from tests.model.checker import Found, explore
from tests.model.dekker_model import Dekker
from tests.model.paxos_model import Paxos
from tests.model.protocol import CLAIMS, Protocol
from tests.model.rules import Bounds, Rules

MODES: dict[str, type[Protocol]] = {"paxos": Paxos, "dekker": Dekker}


class Case(NamedTuple):
    """One exhaustive search."""

    mode: str
    bounds: Bounds
    variant: str = ""
    rules: Rules = Rules()

    def told(self) -> str:
        """Its name."""
        return f"{self.mode}: {self.bounds.told(self.mode)}{', ' * bool(self.variant)}{self.variant}"


LITERAL = ("register", "abort", "read")

DEFAULT = (
    Case("paxos", Bounds(nodes=2, epochs=1, rounds=3, restarts=2)),
    Case("paxos", Bounds(nodes=2, epochs=2, rounds=2, restarts=1)),
    Case("paxos", Bounds(nodes=2, epochs=2, rounds=1, restarts=1, lost=1)),
    Case("paxos", Bounds(nodes=3, epochs=1, rounds=1, restarts=1)),
    Case("paxos", Bounds(nodes=2, epochs=1, rounds=2, restarts=1), "reservation of type 7", Rules(reservation=7)),
    Case(
        "paxos",
        Bounds(nodes=2, epochs=1, rounds=2, restarts=2),
        "registers first; a nexus per life",
        Rules(boot=LITERAL, nexus_per_life=True),
    ),
    Case(
        "paxos",
        Bounds(nodes=2, epochs=1, rounds=2, restarts=2),
        "registers first; the fence takes every key of the node",
        Rules(boot=LITERAL, fence_all=True),
    ),
    Case("dekker", Bounds(nodes=2, epochs=2, restarts=2)),
    Case("dekker", Bounds(nodes=2, epochs=2, restarts=1, lost=1)),
    Case("dekker", Bounds(nodes=2, epochs=3, restarts=1), "its block is damaged", Rules(records="repaired")),
    Case("dekker", Bounds(nodes=3, epochs=1)),
)

DEEP = (
    Case("paxos", Bounds(nodes=2, epochs=2, rounds=2, restarts=2)),
    Case("paxos", Bounds(nodes=3, epochs=2, rounds=1)),
    Case("dekker", Bounds(nodes=2, epochs=2, restarts=3)),
    Case("dekker", Bounds(nodes=3, epochs=1, restarts=1, by_region=False)),
)

STATES_MAX = {"": 500_000, "deep": 12_000_000}
DEPTH = os.environ.get("HIL_MODEL", "")


@cache
def examined(case: Case) -> Found:
    """Once per process: two tests and the table ask."""
    protocol = MODES[case.mode](case.rules, case.bounds, CLAIMS)
    return explore(protocol, most=STATES_MAX[DEPTH], traces=True)


def table(cases: tuple[Case, ...] = DEFAULT) -> str:
    """States and traces, as in docs/election.md."""
    lines = ["| mode | bounds | states | steps | longest | traces |", "|---|---|---|---|---|---|"]
    for case in cases:
        found = examined(case)
        bounds = f"{case.bounds.told(case.mode)}{'; ' * bool(case.variant)}{case.variant}"
        counts = f"{found.states:,} | {found.steps:,} | {found.depth} | {found.traces:.1e}"
        lines.append(f"| {case.mode} | {bounds} | {counts} |" if found.trace is None else f"| {case.mode} | WRONG |")
    return "\n".join(lines) + "\n"
