"""Calls that may hang, such as a read of a disk that is away: in threads, so that the watcher answers meanwhile.

One thread for each path, however often it is asked for: a call that hangs is not followed by another one.
"""

from __future__ import annotations

import _thread
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Probe:
    """The last call for one path, and the one that is under way."""

    def __init__(self) -> None:
        self.began_s: float | None = None  # of the call that is under way
        self.result: Any = None  # of the last one that has ended
        self.error = ""  # why that has failed
        self.ended = 0  # how many have

    def hangs_s(self, now_s: float) -> float:
        """For how long the call that is under way has not returned."""
        began_s = self.began_s  # the thread may take it away
        return 0.0 if began_s is None else now_s - began_s


class Probes:
    """By path. `fileno` is readable when a call has ended."""

    def __init__(self, call: Callable[[str], Any]) -> None:
        """call: may raise OSError."""
        self._call = call
        self._probes: dict[str, Probe] = {}
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """See above; `heard` makes it unreadable again."""
        return self._bell

    def heard(self) -> bool:
        """Whether calls have ended since; all that have up to now will be looked at."""
        try:
            return os.eventfd_read(self._bell) > 0
        except BlockingIOError:
            return False

    def of(self, path: str) -> Probe:
        """That of a path."""
        return self._probes.setdefault(path, Probe())

    def begin(self, path: str) -> None:
        """Call, unless a call for that path is under way."""
        probe = self.of(path)
        if probe.began_s is None:
            probe.began_s = time.monotonic()
            _thread.start_new_thread(self._run, (path, probe))

    def _run(self, path: str, probe: Probe) -> None:
        try:
            probe.result, probe.error = self._call(path), ""
        except OSError as why:
            probe.result, probe.error = None, why.strerror or str(why)
        probe.ended += 1
        probe.began_s = None
        os.eventfd_write(self._bell, 1)
