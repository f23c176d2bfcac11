"""Timers whose time goes on when a test says so."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class ManualTimers:
    """Of ``hil.scsi.faults.table.Timers``; ``now`` in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, ManualTimer]] = []
        self._number = 0

    def call_later(self, delay: float, callback: Callable[[], object], /) -> ManualTimer:
        self._number += 1
        timer = ManualTimer(callback)
        heapq.heappush(self._due, (self.now + delay, self._number, timer))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, timer = heapq.heappop(self._due)
            if timer.callback is not None:
                timer.callback()
        self.now = end


class ManualTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None
