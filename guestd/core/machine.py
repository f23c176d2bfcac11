"""One engine for every state machine: a table of (state, trigger) -> next state.

A machine is one file: an enum with a remark per state, and one table with a row for every state, an empty row for a
final one. Raw input is turned into a named trigger first and then looked up here. A trigger that a state does not take
is a bug of the caller (`IllegalTrigger`), never something that a peer or the disk can cause.
"""

from __future__ import annotations

from guestd.core.enumeration import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Generic, TypeVar

    State = TypeVar("State", bound=Enum)
else:
    State = None

    class Generic:
        """Stands for typing's at run time, which would cost more to import than the whole of this package."""

        def __class_getitem__(cls, _item):
            return cls


class IllegalTrigger(AssertionError):
    """A state was given a trigger that it does not take; the message names the state, the trigger and what is legal."""


class Table(Generic[State]):
    """A checked transition table: `rows[state][trigger]` is the next state."""

    __slots__ = ("counts", "name", "rows", "triggers")

    def __init__(self, name: str, states: type[State], rows: Mapping[State, Mapping[str, State]]) -> None:
        missing = [state.name for state in states if state not in rows]
        if missing:
            raise ValueError(f"the table of {name} has no row for: {', '.join(missing)}")
        self.name = name
        self.rows = rows
        self.counts: dict[tuple[str, str], int] | None = None  # of (state, trigger), while somebody wants to know
        self.triggers = tuple(sorted({trigger for row in rows.values() for trigger in row}))

    def takes(self, state: State, trigger: str) -> bool:
        """Whether the state has an entry for the trigger."""
        return trigger in self.rows[state]

    def next(self, state: State, trigger: str) -> State:
        """The state that follows. Raises IllegalTrigger, and moves nothing, if the state does not take the trigger."""
        row = self.rows[state]
        if trigger not in row:
            legal = ", ".join(sorted(row)) or "nothing"
            raise IllegalTrigger(f'{self.name}: {state.value} cannot take "{trigger}" (it takes: {legal})')
        if self.counts is not None:
            key = (state.value, trigger)
            self.counts[key] = self.counts.get(key, 0) + 1
        return row[trigger]
