"""The events as they come: the steps that a person follows, or each event with its fields; filtered by text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from hil.cli.lines import event_line, step_line
from hil.live.lines import LINES_MAX, Line, Lines
from hil.view import Event

_STYLES: Final = {
    "panic": "bold red",
    "machine-crashed": "red",
    "refused": "red",
    "guestd-exited": "red",
    "disk-exited": "bold red",
    "events-lost": "red",
    "fault-injected": "yellow",
    "fault-struck": "yellow",
    "fault-healed": "green",
    "elected": "cyan",
    "bench-stopping": "bold",
}


def line_of(event: Event, *, every: bool) -> Line | None:
    """One event; without ``every`` None for those that are no step."""
    text = event_line(event) if every else step_line(event)
    return None if text is None else (text, _STYLES.get(event["kind"], ""))


def passes(text: str, wanted: str) -> bool:
    """Whether the line has each of the texts in ``wanted``, which commas separate, and none of those behind a ``!``.

    Upper and lower case are the same.
    """
    text = text.lower()
    parts = [part.strip().lower() for part in wanted.split(",")]
    unwanted = [part[1:].strip() for part in parts if part.startswith("!")]
    return all(part in text for part in parts if not part.startswith("!")) and not any(
        part in text for part in unwanted if part
    )


class EventList(Lines):
    """The newest events that pass."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._events: deque[Event] = deque(maxlen=LINES_MAX)
        self.every = False
        """Each event, not only the steps."""
        self.wanted = ""
        """The filter."""

    def take(self, events: Iterable[Event]) -> None:
        """More events."""
        new = list(events)
        self._events += new
        self.append(self._passing(new))

    def choose(self, *, every: bool | None = None, wanted: str | None = None) -> None:
        """Show others of the events."""
        self.every = self.every if every is None else every
        self.wanted = self.wanted if wanted is None else wanted
        self.replace(self._passing(self._events))

    def _passing(self, events: Iterable[Event]) -> Iterable[Line]:
        lines = (line_of(event, every=self.every) for event in events)
        return [line for line in lines if line is not None and passes(line[0], self.wanted)]
