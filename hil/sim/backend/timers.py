"""Timers of the target's faults, on the simulator's queue."""

from __future__ import annotations

from collections.abc import Callable

from hil.sim.queue import Queue


class QueueTimer:
    """Of ``hil.scsi.faults.table.Timer``."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Too late is fine."""
        self._callback = None

    def fire(self) -> None:
        """Its time has come."""
        if self._callback is not None:
            self._callback()


class QueueTimers:
    """Of ``hil.scsi.faults.table.Timers``."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def call_later(self, delay: float, callback: Callable[[], object], /) -> QueueTimer:
        """``delay`` in seconds of the virtual clock."""
        timer = QueueTimer(callback)
        self._queue.after(round(delay * 1_000_000), timer.fire)
        return timer
