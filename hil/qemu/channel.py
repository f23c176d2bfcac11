"""The virtio-serial line to one guest: events out of it, orders into it, both numbered (design 2.5)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import select
import socket
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hil.view import BENCH_KINDS, MALFORMED

Event = dict[str, Any]
MAX_LINE = 256 * 1024
"""A guest that sends no newline for so long is sending rubbish; what came is reported and dropped."""


class GuestChannel:
    """One machine's line. Reads in a thread of its own until the machine is gone.

    ``on_event(kind, fields)`` gets every event with the guest's own number and time as ``guest_n`` and ``guest_t``,
    plus ``events-lost`` where a number is missing and ``garbage`` for a line that is no event. Of many such lines in
    a row the first is reported, and how many followed: a guest that floods the line must not flood the evidence.
    """

    def __init__(self, path: Path, on_event: Callable[[str, Event], None], line: Event | None = None) -> None:
        """``line``: what :meth:`state` told of the line that this one continues."""
        self._on_event = on_event
        self._expected = line["expected"] if line else 1
        self._pending = bytes.fromhex(line["pending"]) if line else b""
        self._garbage_count = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._sending = threading.Lock()
        self._reading = threading.Lock()
        self.orders_sent = line["orders_sent"] if line else 0
        self._thread = threading.Thread(target=self._read, name=f"channel-{path.name}", daemon=True)
        self._thread.start()

    def send_order(self, order: str, fields: Event) -> int:
        """Send one order; its number. Raises :class:`OSError` if the machine is gone or has no room for more.

        Numbers ascend over all guestds of this line: an order may wait for a guestd that has not started yet.
        """
        with self._sending:
            self.orders_sent += 1
            line = json.dumps({"n": self.orders_sent, "order": order, **fields}).encode() + b"\n"
            # A guest that takes no orders must not hold up who sends them: power off comes after us.
            self._socket.sendall(line, socket.MSG_DONTWAIT)
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

    def settle(self) -> None:
        """The guest has stopped, its machine has not: report all that it sent, and half a line as garbage."""
        with self._reading:
            while self._receive():
                pass
            self._drop_pending()

    def state(self) -> Event:
        """How far a line has come whose machine is suspended, so that another can go on; all that came is reported."""
        with self._reading:
            while self._receive():
                pass
            return {"expected": self._expected, "pending": self._pending.hex(), "orders_sent": self.orders_sent}

    def unread(self) -> int:
        """Bytes of orders that QEMU has not taken: they would be lost with this socket."""
        return int.from_bytes(fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def _read(self) -> None:
        readable = select.poll()
        readable.register(self._socket, select.POLLIN)
        while readable.poll():
            with self._reading:
                if self._receive() is None:
                    self._drop_pending()
                    self._end_of_garbage()
                    return

    def _receive(self) -> bool | None:
        """Take what is there; False if there is nothing, None at the end of the line."""
        try:
            data = self._socket.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return None
        if not data:
            return None
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._take(line)
        if len(self._pending) > MAX_LINE:
            self._drop_pending()
        return True

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind, number = event.pop("kind"), event.pop("n", None)
            if not isinstance(kind, str) or kind in BENCH_KINDS or not isinstance(number, int | None):
                raise ValueError(kind)
        except (*MALFORMED, RecursionError):
            self._garbage(line)
            return
        if number is not None:
            event["guest_n"] = number
        if "t" in event:
            event["guest_t"] = event.pop("t")
        self._end_of_garbage()
        if kind == "guestd-started":
            self._expected = 1  # a new guestd counts anew
        if number is not None:
            if number != self._expected:
                self._on_event("events-lost", {"expected": self._expected, "got": number})
            self._expected = number + 1
        try:
            self._on_event(kind, event)
        except MALFORMED:  # of a known kind, but what it says makes no sense
            self._garbage(line)

    def _drop_pending(self) -> None:
        if self._pending:
            self._garbage(self._pending)
            self._pending = b""

    def _garbage(self, line: bytes) -> None:
        self._garbage_count += 1
        if self._garbage_count == 1:
            self._on_event("garbage", {"text": line[:200].decode(errors="replace")})

    def _end_of_garbage(self) -> None:
        if self._garbage_count > 1:
            self._on_event("garbage", {"text": "", "more": self._garbage_count - 1})
        self._garbage_count = 0
