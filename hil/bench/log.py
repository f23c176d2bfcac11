"""The bench's event stream: one order, one clock, kept in memory and on disk.

Every event is a flat JSON object with ``n`` (1, 2, 3 … without a gap), ``t`` (seconds since the bench started, the
host's monotonic clock) and ``kind``; ``events.jsonl`` in the run directory holds the same lines.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hil.view import View

Event = dict[str, Any]


class EventLog:
    """Append from any thread; any number of threads follow from any number on.

    When the file cannot be written, ``broken`` says why and ``on_broken()`` is called once; who follows still
    hears all.
    """

    def __init__(
        self, path: Path, nodes: int, history: Sequence[Event] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``history``: the events of the cluster that goes on here, from the first; time goes on after the last.

        ``clock``: in seconds.
        """
        self.broken: str | None = None
        self.on_broken: Callable[[], None] = lambda: None
        self._clock = clock
        self._start = clock()
        self._lines: list[bytes] = []
        self._changed = threading.Condition()
        # Unbuffered: what was seen by a client is on the file, also after SIGKILL.
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the bench
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_SH)  # who prunes sees that the run goes on (hil.evidence.runs)
        self._view = View(nodes)
        self._closed = False
        for event in history:
            self._view.apply(event)
            self._lines.append(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        if history:
            self._start -= history[-1]["t"]
            self._write(b"".join(self._lines))

    def emit(self, kind: str, /, **fields: Any) -> Event:
        """Append one event and return it; ``n``, ``t`` and ``kind`` are set here.

        Raises one of :data:`hil.view.MALFORMED`, and appends nothing, if the view can make nothing of it.
        """
        with self._changed:
            event = {"n": len(self._lines) + 1, "t": self.now(), "kind": kind, **fields}
            if self._closed:
                return event  # a thread that reports into the end of the bench; nobody reads any more
            line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
            self._view.apply(event)
            self._lines.append(line)
            self._write(line)
            self._changed.notify_all()
            return event

    def _write(self, line: bytes) -> None:
        if self.broken is not None:
            return
        try:
            if self._file.write(line) != len(line):  # the beginning found room, the rest did not
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.broken = f"the events cannot be kept: {self._file.name}: {error.strerror}"
            self.on_broken()

    def status(self) -> dict[str, Any]:
        """The current view as plain data, and ``now``: what an event's ``t`` would be."""
        with self._changed:
            return {**self._view.as_dict(), "now": round(self._clock() - self._start, 4)}

    def now(self) -> float:
        """The time that an event would have."""
        return round(self._clock() - self._start, 4)

    @property
    def zero_ns(self) -> int:
        """When its time was 0, nanoseconds of its clock."""
        return int(self._start * 1e9)

    @property
    def position(self) -> int:
        """The number of the newest event."""
        with self._changed:
            return len(self._lines)

    @property
    def closed(self) -> bool:
        """Whether there will be no more events."""
        with self._changed:
            return self._closed

    def power(self, node: int) -> str:
        """The last known power state of ``node``'s machine."""
        with self._changed:
            return self._view.nodes[node].power

    def guestd(self, node: int) -> str:
        """The last known state of ``node``'s guestd."""
        with self._changed:
            return self._view.nodes[node].guestd

    def ends(self, node: int) -> int:
        """How often ``node``'s machine has stopped, crashed or been reset so far."""
        with self._changed:
            return self._view.nodes[node].ends

    def wait_for(self, condition: Callable[[View], bool], timeout_s: float) -> bool:
        """Wait until ``condition(view)`` is true; False after ``timeout_s`` seconds. Woken by every event."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self._view), timeout_s)

    def close(self) -> None:
        """No more events: everybody who follows comes to an end after the last one; later ones are dropped."""
        with self._changed:
            self._closed = True
            self._file.close()
            self._changed.notify_all()

    def follow(self, since: int, follow: bool) -> Iterator[bytes]:
        """Yield chunks of JSON lines of the events after number ``since``; go on with new ones if ``follow``."""
        position = max(0, since)
        while True:
            with self._changed:
                while follow and position >= len(self._lines) and not self._closed:
                    self._changed.wait()
                lines = self._lines[position:]
                closed = self._closed
            position += len(lines)
            if lines:
                yield b"".join(lines)
            if not follow or (closed and not lines):
                return
