"""Faults of the shared disk (spec S10.4): asked for at the SCSI target's control socket, which also tells what they do.

One connection carries both, so an answer comes after the events of what it is about: when :meth:`DiskControl.ask`
returns, ``on_event`` has been called with them. The protocol is in :mod:`hil.scsi.control`.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hil.errors import InvalidRun, LaboratoryError, UsageError

ANSWER_TIMEOUT_S = 30.0
"""The target answers in milliseconds; by then it hangs, or is stopped in a debugger."""

Event = dict[str, Any]


class FaultControl(ABC):
    """Faults that are injected and healed, verified; ``on_event`` hears of what they do."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self._over: set[int] = set()

    @abstractmethod
    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The target's answer. Raises :class:`UsageError` for a request that it refuses."""

    def tell(self, event: Event) -> None:
        """The target says that this has happened."""
        if event["event"] == "fault-healed":
            self._over.add(event["number"])
        self._on_event(event)

    def inject(self, request: dict[str, Any]) -> int:
        """A fault is in force when this returns; its number.

        Raises :class:`UsageError`, and :class:`InvalidRun` when the target does not have it after all.
        """
        number = int(self.ask(request)["fault"])
        shown = any(fault["number"] == number for fault in self.status()["faults"])
        if not shown and number not in self._over:  # a short one may have done all that it was to do
            raise InvalidRun(f"disk fault {number} ({request['fault']}): the target does not show it")
        return number

    def heal(self, numbers: list[int]) -> int:
        """Ends faults, some of which may have ended by themselves; how many commands they let go, in their order.

        Raises :class:`InvalidRun`.
        """
        released, there = 0, self._of(numbers)
        while there:
            try:
                released += int(self.ask({"heal": there})["released"])
            except UsageError:
                if self._of(there) == there:
                    raise
                there = self._of(there)  # one ended in this moment
                continue
            break
        left = self._of(numbers)
        if left:
            raise InvalidRun(f"healing disk fault {left[0]}: the target still shows it")
        return released

    def _of(self, numbers: list[int]) -> list[int]:
        """Those that are in force."""
        return [fault["number"] for fault in self.status()["faults"] if fault["number"] in numbers]

    def status(self) -> dict[str, Any]:
        """Faults in force, each with the commands that it holds, and how many commands there were so far."""
        return self.ask({"status": True})


class DiskControl(FaultControl):
    """The bench's connection. Requests may come from any thread; ``on_event`` is called in one of our own."""

    def __init__(self, path: Path, on_event: Callable[[Event], None]) -> None:
        super().__init__(on_event)
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._asking = threading.Lock()
        self._closed = False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        threading.Thread(target=self._read, name="disk-control", daemon=True).start()
        self.ask({"watch": True})

    def close(self) -> None:
        """No more requests, no more events."""
        self._closed = True
        with contextlib.suppress(OSError):  # the target may have hung up already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The target's answer. Raises :class:`UsageError` for a request that it refuses."""
        with self._asking:
            answer = None
            if not self._closed:
                try:
                    self._socket.sendall(json.dumps(request).encode() + b"\n")
                    answer = self._answers.get(timeout=ANSWER_TIMEOUT_S)
                except (OSError, queue.Empty):
                    pass
            if answer is None:
                self.close()  # for good: an answer that is late would be taken for that of the next request
        if answer is None:
            raise LaboratoryError("the SCSI target does not answer at its control socket; see bench.log")
        if not answer.pop("ok"):
            raise UsageError(answer["error"])
        return answer

    def _read(self) -> None:
        with self._socket.makefile("rb") as lines:
            try:
                for line in lines:
                    message = json.loads(line)
                    if "event" in message:
                        self.tell(message)
                    else:
                        self._answers.put(message)
            except (OSError, ValueError):
                pass  # closed by us, or the target was killed in the middle of a line
            finally:
                self._answers.put(None)  # nobody waits for an answer that cannot come
