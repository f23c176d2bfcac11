"""How far a campaign has come: one line on standard error, which changes in its place on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Final

_LIVE_EVERY_S: Final = 0.1


class StatusLine:
    """Elsewhere than on a terminal each line stands for itself, and one is left out if the last is younger than
    ``every_s`` seconds (0: none is)."""

    def __init__(self, every_s: float = 0.0) -> None:
        self._live = sys.stderr.isatty()
        self._every_s = min(every_s, _LIVE_EVERY_S) if self._live else every_s
        self._last_s = time.monotonic()
        self._shown = 0

    def show(self, line: str) -> None:
        """In the place of the one before."""
        now_s = time.monotonic()
        if now_s - self._last_s < self._every_s:
            return
        self._last_s = now_s
        if self._live:
            print(f"\r{line.ljust(self._shown)}", end="", file=sys.stderr, flush=True)
            self._shown = len(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Room for other lines."""
        if self._shown:
            print(f"\r{' ' * self._shown}\r", end="", file=sys.stderr, flush=True)
            self._shown = 0
