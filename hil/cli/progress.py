"""Progress for people: a live display on a terminal, one plain line per step everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from hil.cli.lines import step_line
from hil.cli.tables import status_screen
from hil.view import Event, View


def stderr_console() -> Console:
    """Where progress goes: standard error, so that standard output stays for results."""
    return Console(file=sys.stderr, highlight=False)


class ImageProgress:
    """Shows how far the guest image's build has come; a context manager."""

    def __init__(self, output: Console | None = None) -> None:
        self._output = output or stderr_console()
        self._live = Live(console=self._output, refresh_per_second=8, transient=True)
        self._stage = ""

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self._output.is_terminal

    def __enter__(self) -> Self:
        if self.is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def on_image(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` (bytes, files or steps, as the stage has it) of ``stage`` are done."""
        if self.is_live:
            share = f" {100 * done // total} %" if total else ""
            self._live.update(Text(f"guest image: {stage}{share}"))
        elif stage != self._stage:
            self.say(f"guest image: {stage}")
        self._stage = stage

    def say(self, line: str) -> None:
        """One line that stays."""
        if self.is_live:
            self._output.print(Text(line))
        else:
            # Flushed line by line: whoever watches a log file sees it when it happens.
            print(line, file=self._output.file, flush=True)


class _Clock:
    """A title with a clock that goes on between two events: a kernel that boots says nothing for seconds."""

    def __init__(self, title: str, t: float, now: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._zero = now() - t
        self._now = now

    def __rich__(self) -> Text:
        """Drawn anew at each refresh."""
        return Text(f"{self._title} ({self._now() - self._zero:.1f} s)", style="bold")


class JoinProgress(ImageProgress):
    """Shows how far each node has come while somebody else waits.

    Hand :meth:`on_event` to the cluster: it is told of every event as it is read.
    """

    def __init__(self, name: str, output: Console | None = None) -> None:
        super().__init__(output)
        self.name = name
        self.title: str | None = None
        """What is going on, above the table; None for the cluster's headline."""

    def on_event(self, event: Event, view: View) -> None:
        """Show what this event changed."""
        if self.is_live:
            title = None if self.title is None else _Clock(self.title, view.t)
            self._live.update(status_screen(self.name, view, title))
        elif (line := step_line(event)) is not None:
            self.say(line)

    def leave_table(self, view: View) -> None:
        """Leave the table as it is now on the terminal; without one the lines have told it all."""
        if self.is_live:
            self._output.print(status_screen(self.name, view))
