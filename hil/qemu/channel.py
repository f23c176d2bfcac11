"""The virtio-serial line to one guest: events out of it, orders into it, both numbered (design 2.5)."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Event = dict[str, Any]
MAX_LINE = 256 * 1024
"""A guest that sends no newline for so long is sending rubbish; what came is reported and dropped."""


class GuestChannel:
    """One machine's line. Reads in a thread of its own until the machine is gone.

    ``on_event(kind, fields)`` gets every event with the guest's own number and time as ``guest_n`` and ``guest_t``,
    plus ``events-lost`` where a number is missing and ``garbage`` for a line that is not a JSON object with a kind.
    """

    def __init__(self, path: Path, on_event: Callable[[str, Event], None]) -> None:
        self._on_event = on_event
        self._expected = 1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._lock = threading.Lock()
        self.orders_sent = 0
        self._thread = threading.Thread(target=self._read, name=f"channel-{path.name}", daemon=True)
        self._thread.start()

    def send_order(self, order: str, fields: Event) -> int:
        """Send one order; its number. Raises :class:`OSError` if the machine is gone."""
        with self._lock:
            self.orders_sent += 1
            line = json.dumps({"n": self.orders_sent, "order": order, **fields}).encode() + b"\n"
            self._socket.sendall(line)
            return self.orders_sent

    def close(self) -> None:
        """Hang up; wait until the last event that came has been reported."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def drain(self) -> None:
        """Wait until the machine's end of the line is closed and everything that it sent has been reported."""
        self._thread.join(timeout=5)

    def _read(self) -> None:
        pending = b""
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if line.strip():
                    self._take(line)
            if len(pending) > MAX_LINE:
                self._garbage(pending)
                pending = b""

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind = event.pop("kind")
        except (ValueError, AttributeError, KeyError, TypeError):
            self._garbage(line)
            return
        number = event.pop("n", None)
        if kind == "guestd-started":
            self._expected = 1  # a new guestd counts anew and takes orders anew
            with self._lock:
                self.orders_sent = 0
        if number is not None:
            if number != self._expected:
                self._on_event("events-lost", {"expected": self._expected, "got": number})
            self._expected = number + 1
            event["guest_n"] = number
        if "t" in event:
            event["guest_t"] = event.pop("t")
        self._on_event(str(kind), event)

    def _garbage(self, line: bytes) -> None:
        self._on_event("garbage", {"text": line[:200].decode(errors="replace")})
