"""A program's connection to its node's guestd: one JSON object per line, both ways (docs/programs.md)."""

from __future__ import annotations

import socket

from guestd.core import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = "/run/hil/guestd.sock"


class ClientError(Exception):
    """Base of the errors that programs get."""


class Disconnected(ClientError):
    """The connection to guestd has ended."""


class Misused(ClientError):
    """guestd did not understand a message."""


class Connection:
    """Not for several threads at once."""

    def __init__(self, path: str = PATH) -> None:
        """Raises OSError if there is no guestd."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._text = b""
        try:
            self._socket.connect(path)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Readable when guestd has said something that was not read."""
        return self._socket.fileno()

    def read(self, timeout_s: float | None) -> dict[str, Any]:
        """The next line. Raises TimeoutError, Disconnected."""
        self._socket.settimeout(timeout_s)
        while b"\n" not in self._text:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:  # a timeout of 0
                raise TimeoutError("guestd has said nothing") from None
            except TimeoutError:
                raise
            except OSError as why:
                raise Disconnected(f"guestd has gone: {why}") from why
            if not data:
                raise Disconnected("guestd has gone")
            self._text += data
        line, _, self._text = self._text.partition(b"\n")
        message = json.loads(line)
        assert isinstance(message, dict), line
        return message

    def send(self, **message: Any) -> None:
        """One line. Raises Disconnected."""
        self._socket.settimeout(None)
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as why:
            raise Disconnected(f"guestd has gone: {why}") from why

    def close(self) -> None:
        """Raises nothing; to guestd it is the end of this program."""
        self._socket.close()
