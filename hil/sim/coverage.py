"""Which rows of which state tables of guestd a run has exercised (docs/state-machines.md).

A row is one entry of a table: a state, a trigger it takes, and what follows. Every machine asks its table for what
follows, so the look-ups are what is counted; only while somebody wants to know (:func:`counting`): otherwise the tables
are as guestd has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from guestd.core.machine import Table
from guestd.events.bell import BELL
from guestd.fence.data_disks import DISK_STATES
from guestd.membership import dekker, paxos
from guestd.membership.roles import ROLES
from guestd.membership.states import NODE_STATES
from guestd.services.states import INSTANCE_STATES
from guestd.transition.registration import REGISTRATIONS
from guestd.transition.states import SUBSYSTEM_STATES

TABLES: Final[tuple[Table[Any], ...]] = (
    NODE_STATES,
    SUBSYSTEM_STATES,
    REGISTRATIONS,
    ROLES,
    paxos.PHASES,
    dekker.PHASES,
    INSTANCE_STATES,
    BELL,
    DISK_STATES,
)
"""Those of docs/state-machines.md that the simulator can exercise; each has a name of its own. The lock manager's has a
campaign to itself, and there are no watchers."""

Row = tuple[str, str, str]
"""Table, state, trigger."""


@dataclass(frozen=True)
class Exercised:
    """One table: its rows in their order, each with how often it was looked up."""

    table: str
    counts: dict[str, int]
    """By "state trigger"."""

    @property
    def never(self) -> list[str]:
        """The rows that were not."""
        return [row for row, count in self.counts.items() if not count]

    def __str__(self) -> str:
        return f"{self.table}: {len(self.counts) - len(self.never)}/{len(self.counts)}"


@contextmanager
def counting() -> Iterator[Counter[Row]]:
    """Within the block, in this process, every look-up in the tables is counted; known at its end. Not to be nested."""
    counts: Counter[Row] = Counter()
    for table in TABLES:
        table.counts = {}
    try:
        yield counts
    finally:
        for table in TABLES:
            found, table.counts = table.counts or {}, None
            counts.update({(table.name, state, trigger): count for (state, trigger), count in found.items()})


def exercised(counts: Mapping[Row, int]) -> list[Exercised]:
    """Of each table every row, with what was counted."""
    return [
        Exercised(
            table.name,
            {
                f"{state.value} {trigger}": counts.get((table.name, state.value, trigger), 0)
                for state, row in table.rows.items()
                for trigger in row
            },
        )
        for table in TABLES
    ]


def lines(counts: Mapping[Row, int]) -> list[str]:
    """For people: each table, and the rows that were never looked up."""
    told = ["rows of the state tables that were exercised:"]
    for one in exercised(counts):
        told.append(f"  {one}")
        told += [f"    never: {row}" for row in one.never]
    return told


def described(counts: Mapping[Row, int]) -> dict[str, Any]:
    """For ``--json``: by table, how many rows there are, how many were exercised, which never, and how often each."""
    return {
        one.table: {
            "rows": len(one.counts),
            "exercised": len(one.counts) - len(one.never),
            "never": one.never,
            "counts": one.counts,
        }
        for one in exercised(counts)
    }
