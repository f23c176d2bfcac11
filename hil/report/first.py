"""The first violation of a run, in time, and what led to it, as places on the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hil.checkers.judgement import Judgement, Ruling
    from hil.view import Event

_PLACE: Final = re.compile(r"(event|command) (\d+)")


class Places:
    """Where on the clock what a ruling names is: "event 17", "command 5 of the disk: …"."""

    def __init__(self, events: Mapping[int, Event], commands: Mapping[int, float]) -> None:
        self._events = events
        self._commands = commands

    def of(self, text: str) -> dict[str, Any]:
        """With ``text``, and as far as they are known: t, n (an event) or order (a command), node."""
        told: dict[str, Any] = {"text": text}
        if (found := _PLACE.match(text)) is None:
            return told
        what, number = found[1], int(found[2])
        if what == "event" and number in self._events:
            event = self._events[number]
            told |= {"n": number, "t": event["t"]}
            if isinstance(event.get("node"), int):
                told["node"] = event["node"]
        elif what == "command":
            told["order"] = number
            if number in self._commands:
                told["t"] = self._commands[number]
        return told


def claims(judgement: Judgement, places: Places) -> list[dict[str, Any]]:
    """All rulings; those that are violated first, by time: the first one of the list is the first violation."""
    rows = [_row(ruling, places) for ruling in judgement.rulings]
    rank = {"violated": 0, "held": 1, "not judged": 2}
    return sorted(
        rows, key=lambda row: (rank[row["outcome"]], row["at"].get("t", float("inf")) if row["violation"] else 0)
    )


def _row(ruling: Ruling, places: Places) -> dict[str, Any]:
    told = ruling.as_dict()
    told["at"] = places.of(ruling.place)
    told["causes"] = [places.of(cause) for cause in ruling.causes]
    return told
