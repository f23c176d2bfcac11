"""The console of a node, over all its boots, followed as it grows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Footer, Static

from hil.live.lines import Line, Lines

PERIOD_S: Final = 0.25
TAIL_BYTES: Final = 512 * 1024
"""Of a console that is longer, the end."""


class Tail:
    """The complete lines of a file that grows; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position: int | None = None
        self._rest = b""

    def read(self) -> list[str]:
        """Those that have come since the last time."""
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if self._position is None or size < self._position:  # from the beginning, or a console begun anew
                    self._position = max(0, size - TAIL_BYTES)
                    self._rest = b""
                file.seek(self._position)
                data = file.read(TAIL_BYTES)
        except FileNotFoundError:
            return []
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines]


class ConsoleScreen(Screen[None]):
    """In the place of the grid until Escape."""

    BINDINGS: ClassVar = [
        Binding("escape,q,enter", "app.pop_screen", "back", key_display="esc"),
        Binding("question_mark", "app.help", "help", key_display="?"),
    ]

    def __init__(self, node: int, path: Path) -> None:
        super().__init__()
        self.node = node
        self._tail = Tail(path)
        self._path = path

    def compose(self) -> ComposeResult:
        """A title, the lines, the keys."""
        yield Static(f"console of n{self.node}   {self._path}", classes="headline", markup=False)
        yield Lines(id="console")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """The console is a file: nobody tells when it grows."""
        self.query_one(Lines).focus()
        self._follow()
        self.set_interval(PERIOD_S, self._follow)

    def _follow(self) -> None:
        if lines := self._tail.read():
            self.query_one(Lines).append([self._styled(line) for line in lines])

    @staticmethod
    def _styled(line: str) -> Line:
        return line, "bold red" if "PANIC" in line or "Kernel panic" in line else ""
