"""What one test's cluster is at, as one line per phase: for whoever watches several of them run side by side."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from hil.view import Event, View


def label(item: pytest.Item) -> str:
    """How a person calls the test: its file, its own name where the file has several, its round where it repeats."""
    name = getattr(item, "originalname", None) or item.name
    siblings = {getattr(other, "originalname", None) or other.name for other in _of_the_same_file(item)}
    parameters = item.name[len(name) :]
    return item.path.stem + (f"::{name.removeprefix('test_')}" if len(siblings) > 1 else "") + parameters


def _of_the_same_file(item: pytest.Item) -> list[pytest.Item]:
    return [other for other in item.session.items if other.path == item.path]


class Phases:
    """Follows one test and says, through ``say``, each phase that begins: one line, without a line's end."""

    def __init__(self, test: str, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._test = test
        self._say = say
        self._now = now
        self._first = self._began = now()
        self._phase = ""

    def tell(self, text: str) -> None:
        """One line about this test."""
        self._say(f"{self._test}: {text}")

    def starting(self, name: str, nodes: int) -> None:
        """The cluster ``name`` is being started; the clock of the joining starts."""
        self._began = self._now()
        self.tell(f"starting {nodes} nodes as {name}")

    def on_event(self, event: Event, view: View) -> None:
        """Told of every event of the cluster until all have joined for the first time."""
        count = len(view.nodes)
        if not self._phase and event["kind"] == "machine-started":
            self._phase = "booting"
            self.tell(f"booting {count} nodes")
        elif self._phase != "joined" and view.why_not_joined(list(range(count))) is None:
            self._phase = "joined"
            self.tell(f"{count} of {count} joined, {self._now() - self._began:.1f} s")

    def running(self) -> None:
        """The test's own steps begin."""
        self.tell("running")

    def taking_down(self) -> None:
        """The test's own steps are over."""
        self.tell("taking down")

    def ended(self, verdict: str) -> None:
        """The test is over and its cluster is gone (or kept)."""
        self.tell(f"{verdict}, {self._now() - self._first:.1f} s in all")
