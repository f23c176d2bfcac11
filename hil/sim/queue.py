"""The virtual clock and the one queue of events. There are no threads: an event runs to its end, then the next one.

Times are whole microseconds since the beginning of the run. Events of the same time run in the order in which they were
asked for, so a run depends on nothing but its seed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Final

Action = Callable[..., None]
Entry = tuple[int, int, Action, tuple[Any, ...]]

# Bound once: the compiled modules would look for them at each event.
_push: Final = heapq.heappush
_pop: Final = heapq.heappop


class Queue:
    """``now_us`` is the time of the event that runs; ``current`` its number, from 1."""

    def __init__(self) -> None:
        self.now_us = 0
        self.current = 0
        self.parents: dict[int, int] | None = None
        """Which event asked for which, while somebody wants to know (:mod:`hil.sim.trace`)."""
        self._entries: list[Entry] = []
        self._count = 0

    @property
    def handled(self) -> int:
        """How many events have run, the one that runs included."""
        return self._count - len(self._entries)

    def after(self, delay_us: int, action: Action, *arguments: Any) -> None:
        """Call ``action(*arguments)`` that much later."""
        self._count = number = self._count + 1
        _push(self._entries, (self.now_us + delay_us, number, action, arguments))
        if self.parents is not None:
            self.parents[number] = self.current

    def run_until(self, end_us: int) -> None:
        """Everything up to that time, which is the time then."""
        entries = self._entries
        while entries and entries[0][0] <= end_us:
            self.now_us, self.current, action, arguments = _pop(entries)
            action(*arguments)
        self.now_us = end_us

    def run_next(self, end_us: int) -> bool:
        """The next event up to that time; False if there is none: it is that time then."""
        if not self._entries or self._entries[0][0] > end_us:
            self.now_us = end_us
            return False
        self.now_us, self.current, action, arguments = _pop(self._entries)
        action(*arguments)
        return True
