"""One run as it lies in its directory: the recording, the claims about it, and what the scenario said of it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.checkers.recorded import judge
from hil.checkers.recording import load
from hil.errors import UsageError
from hil.evidence import layout
from hil.recovery import Recovery, recoveries
from hil.view import MALFORMED, View

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hil.checkers.judgement import Judgement
    from hil.checkers.recording import Recording
    from hil.view import Event

_STAMP: Final = re.compile(r"\d{8}T\d{6}(\.\d+)?Z")


@dataclass
class Run:
    """``notes``: what of it could not be used, and why. Times are in seconds of the run's own clock."""

    directory: Path
    recording: Recording
    notes: list[str] = field(default_factory=list)
    moved: float = 0.0
    """Where its clock's zero is, on the clock of its recording."""

    @property
    def events(self) -> Sequence[Event]:
        """In their order."""
        return self.recording.events

    @property
    def nodes(self) -> int:
        """How many."""
        return self.recording.nodes

    @property
    def started(self) -> Event:
        """The first event."""
        return self.recording.events[0]

    @property
    def end_t(self) -> float:
        """When the last event happened."""
        return max(float(event["t"]) for event in self.recording.events)

    @cached_property
    def judgement(self) -> Judgement:
        """All claims (docs/checkers.md)."""
        return judge(self.recording)

    @cached_property
    def recoveries(self) -> list[Recovery]:
        """After each loss of a node."""
        return recoveries(self.recording.events)

    @cached_property
    def told(self) -> dict[str, Any]:
        """What the scenario and the bench have written beside the events; empty without them."""
        return _json(self.directory / layout.MANIFEST) | _json(self.directory / layout.VERDICT)

    @property
    def verdict(self) -> str:
        """The scenario's word; without one, what the claims say: "claim failed" or "no claim violated"."""
        if isinstance(word := self.told.get("verdict"), str) and word:
            return word
        return "claim failed" if self.judgement.violated else "no claim violated"

    @property
    def title(self) -> str:
        """The test, or the cluster."""
        scenario = self.told.get("scenario")
        test = self.told.get("test") or (scenario.get("test") if isinstance(scenario, dict) else None)
        return str(test or self.started.get("cluster") or self.directory.name)

    @property
    def when(self) -> datetime:
        """When it began, as its manifest or its directory says; else when its last event was written."""
        try:
            return datetime.fromisoformat(str(self.told.get("created"))).astimezone(UTC).replace(microsecond=0)
        except ValueError:
            pass
        if _STAMP.fullmatch(stamp := self.directory.name):
            return datetime.strptime(stamp[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        return datetime.fromtimestamp((self.directory / layout.EVENTS).stat().st_mtime, UTC).replace(microsecond=0)

    def follow(self, told: Callable[[Event, View], None]) -> View:
        """Hand over every event and the view after it. Raises :class:`UsageError` for one that says what cannot be."""
        view = View(self.nodes)
        for event in self.recording.events:
            try:
                view.apply(event)
                told(event, view)
            except MALFORMED as error:
                where = f"event {event.get('n')} ({event.get('kind')})"
                raise UsageError(
                    f"{self.directory / layout.EVENTS}: {where} says what cannot be: {type(error).__name__}: {error}"
                ) from None
        return view

    def shifted(self, seconds: float) -> Run:
        """The same with another zero of its clock."""
        events = [{**event, "t": round(event["t"] - seconds, 4)} for event in self.events]
        run = Run(self.directory, replace(self.recording, events=events), list(self.notes), self.moved + seconds)
        run.__dict__["judgement"] = self.judgement  # nothing in it depends on the zero
        return run


def read(directory: Path) -> Run:
    """The run in ``directory``, which may still go on.

    Raises :class:`UsageError` for what is no recording, one of another version, or one with nothing in it. A last line
    that is cut short, as a bench that is killed leaves it, is left out and told in ``notes``.
    """
    if (directory / layout.EVENTS).is_file() and not (directory / layout.EVENTS).stat().st_size:
        raise UsageError(f"{directory / layout.EVENTS} is empty: nothing was recorded of that run")
    recording = load(directory)
    for event in recording.events:
        if not all(isinstance(at := event.get(key), int | float) and math.isfinite(at) for key in ("n", "t")):
            raise UsageError(f"{directory / layout.EVENTS}: an event {event['kind']} has no number n or no time t")
    run = Run(directory, recording)
    if not (directory / layout.EVENTS).read_bytes().endswith(b"\n"):
        run.notes.append(f"the last line of {layout.EVENTS} is cut short, and left out")
    return run


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
