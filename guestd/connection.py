"""A program's connection to its node's guestd: one JSON object per line, both ways (docs/programs.md)."""

from __future__ import annotations

import socket

from guestd.core import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
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
        self._timeout_s: float | None = None
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
        while b"\n" not in self._text:
            self._wait(timeout_s)
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
        self.send_all([message])

    def send_all(self, messages: Sequence[dict[str, Any]]) -> None:
        """A line for each, at once. Raises Disconnected."""
        self._wait(None)
        try:
            self._socket.sendall("".join([json.dumps(message) + "\n" for message in messages]).encode())
        except OSError as why:
            raise Disconnected(f"guestd has gone: {why}") from why

    def _wait(self, timeout_s: float | None) -> None:
        """So long at most from now on. To tell the socket what it knows would be a system call."""
        if timeout_s != self._timeout_s:
            self._socket.settimeout(timeout_s)
            self._timeout_s = timeout_s

    def close(self) -> None:
        """Raises nothing; to guestd it is the end of this program."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # also for a thread that waits for it to become readable
        except OSError:
            pass  # guestd was faster
        finally:
            self._socket.close()
