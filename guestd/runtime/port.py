"""The channel to the host: events out, orders in, one JSON object per line.

Bounded and never blocking: when the host does not read, whole lines are dropped, and the gap in their numbers shows it.
"""

from __future__ import annotations

import _socket
import os

from guestd.core import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BUFFER_SIZE_MAX = 256 << 10
LINE_SIZE_MAX = 64 << 10
READ_SIZE = 4096


class Port:
    """A virtio-serial port, or a Unix socket in trials."""

    def __init__(self, find: Callable[[], str | None]) -> None:
        """find: the path of the device now, None while there is none."""
        self._find = find
        self._fd = -1
        self._out = bytearray()
        self._in = bytearray()
        self._numbered = 0
        self._back: list[dict[str, Any] | str] = []
        self.dropped_count = 0
        self.changes = 0  # how often it was opened and closed

    def open(self) -> bool:
        """Try to open it; False while it is not there."""
        if self._fd < 0:
            path = self._find()
            if path is not None:
                self.changes += 1
                try:
                    self._fd = _open(path)
                except OSError:
                    self._fd = -1
        return self._fd >= 0

    def fileno(self) -> int:
        """Readable when orders are there; -1 while it is not open."""
        return self._fd

    @property
    def wants_to_write(self) -> bool:
        """Something waits for the host to read."""
        return bool(self._out) and self._fd >= 0

    def emit(self, kind: str, fields: dict[str, Any], now_s: float) -> None:
        """Number an event, to be sent by the next `flush`: each write is an exit to the emulator."""
        self._numbered += 1
        event = {"n": self._numbered, "t": round(now_s, 3), "kind": kind, **fields}
        line = json.dumps(event).encode() + b"\n"
        if len(self._out) + len(line) > BUFFER_SIZE_MAX:
            self.dropped_count += 1
        else:
            self._out += line

    def flush(self) -> None:
        """Write as much as there is room for."""
        try:
            while self.wants_to_write:
                del self._out[: os.write(self._fd, self._out)]
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def begin_anew(self) -> None:
        """The next event is number 1: of a guestd that starts now."""
        self._numbered = 0

    def put_back(self, orders: list[dict[str, Any] | str]) -> None:
        """Orders that were read too early come again, before all others."""
        self._back += orders

    def orders_back(self) -> list[dict[str, Any] | str]:
        """Those that were put back."""
        back, self._back = self._back, []
        return back

    def orders(self) -> list[dict[str, Any] | str]:
        """The orders that have come in; a line that is none comes as text."""
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.close()  # the host has gone; it is looked for again at the next tick
            return []
        self._in += data
        *lines, rest = bytes(self._in).split(b"\n")
        self._in = bytearray(rest[:LINE_SIZE_MAX])
        return [_order(line) for line in lines if line.strip()]

    def close(self) -> None:
        """Let go of the device; `open` opens it again."""
        fd, self._fd = self._fd, -1
        self.changes += 1
        self._in.clear()
        if fd >= 0:
            try:
                os.close(fd)
            except OSError:
                return


def _order(line: bytes) -> dict[str, Any] | str:
    try:
        order = json.loads(line)
    except ValueError:
        order = None
    return order if isinstance(order, dict) else line.decode("utf-8", "replace")[:200]


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            made.connect(path)
            made.setblocking(False)
            return made.detach()
        finally:
            made.close()
