"""The socket at which programs of this node register: lines in, lines out (docs/programs.md)."""

from __future__ import annotations

import _socket
import errno
import os
import select

from guestd.core import json
from guestd.core.inputs import ProgramGone, ProgramMessage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.core.inputs import Input

CONNECTIONS_MAX = 64
LINE_SIZE_MAX = 64 << 10
BUFFER_SIZE_MAX = 256 << 10  # for a program that does not read; then it is cut off, which is its death
READ_SIZE = 64 << 10
BACKLOG = 16


class _Connection:
    """One program. The descriptor is kept as a number, as that of the listener is."""

    __slots__ = ("end", "incoming", "number", "outgoing", "waits")

    def __init__(self, number: int, end: _socket.socket) -> None:
        self.number = number
        self.end = end
        self.incoming = b""
        self.outgoing = bytearray()
        self.waits = False  # for room


class ProgramSocket:
    """A listening Unix socket and what is connected to it. Never blocks, never raises for what a program does."""

    def __init__(self, path: str | None) -> None:
        """path: of the socket; None: there is none, on a machine that is no guest."""
        self.path = path or ""
        self._listener = None if path is None else _listen(path)
        self._connections: dict[int, _Connection] = {}  # by file descriptor
        self._numbered = 0
        self._by_number: dict[int, int] = {}  # connection -> its file descriptor
        self._answered: dict[int, None] = {}  # connections to which something is to be sent by the next `flush`
        self._given: list[Input] = []  # not taken yet
        self.changes = 0  # how often `wanted` has become another one

    def wanted(self) -> dict[int, int]:
        """File descriptor -> epoll events that are waited for."""
        wanted = {
            fd: select.EPOLLIN | (select.EPOLLOUT if connection.waits else 0)
            for fd, connection in self._connections.items()
        }
        if self._listener is not None and len(self._connections) < CONNECTIONS_MAX:
            wanted[self._listener.fileno()] = select.EPOLLIN
        return wanted

    def take(self, ready: set[int]) -> list[Input]:
        """What the programs have said, by the descriptors that are ready; a program that has ended comes last."""
        for fd in sorted(ready & self._connections.keys()):
            connection = self._connections[fd]
            self._flush(fd, connection)
            if fd in self._connections:
                self._read(fd, connection)
        if self._listener is not None and self._listener.fileno() in ready:
            self._accept()
        given, self._given = self._given, []
        return given

    def answer(self, number: int, message: dict[str, Any]) -> None:
        """One line to a program, sent by the next `flush`. Nothing happens if it has ended."""
        if number in self._by_number:
            self._connections[self._by_number[number]].outgoing += json.dumps(message).encode() + b"\n"
            self._answered[number] = None

    def flush(self) -> None:
        """Send what there is for the programs, as far as they read: several answers in one go."""
        answered, self._answered = self._answered, {}
        for number in answered:
            fd = self._by_number.get(number)
            if fd is not None:
                self._flush(fd, self._connections[fd])

    def hang_up(self, number: int) -> None:
        """End the connection of a program, when it has been sent what it takes at once; `take` tells of the end."""
        fd = self._by_number.get(number)
        if fd is not None:
            self._flush(fd, self._connections[fd])
        if number in self._by_number:
            self._cut(self._by_number[number])

    @property
    def has_more(self) -> bool:
        """Whether `take` has something to give, also if no descriptor is ready."""
        return bool(self._given)

    def close(self) -> None:
        """This guestd ends: so do the connections."""
        for connection in self._connections.values():
            connection.end.close()
        self._connections.clear()
        self._by_number.clear()
        self.changes += 1
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            # What `socket.accept` does, which is not imported here.
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001
        except OSError:
            return  # it has gone again
        end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
        end.setblocking(False)
        self._numbered += 1
        self._connections[fd] = _Connection(self._numbered, end)
        self._by_number[self._numbered] = fd
        self.changes += 1

    def _read(self, fd: int, connection: _Connection) -> None:
        try:
            data = connection.end.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, rest = (connection.incoming + data).split(b"\n")
        connection.incoming = rest
        for line in lines:
            self._given.append(ProgramMessage(connection.number, line.decode("utf-8", "replace")))
        if not data or len(rest) > LINE_SIZE_MAX:
            self._cut(fd)

    def _flush(self, fd: int, connection: _Connection) -> None:
        try:
            while connection.outgoing:
                del connection.outgoing[: connection.end.send(connection.outgoing)]
        except BlockingIOError:
            if len(connection.outgoing) > BUFFER_SIZE_MAX:
                self._cut(fd)
        except OSError:
            connection.outgoing.clear()  # what it has said before it ended is still read
        if connection.waits != bool(connection.outgoing):
            connection.waits = not connection.waits
            self.changes += 1

    def _cut(self, fd: int) -> None:
        connection = self._connections.pop(fd)
        del self._by_number[connection.number]
        self.changes += 1
        connection.end.close()
        self._given.append(ProgramGone(connection.number))


def _listen(path: str) -> _socket.socket:
    """For root alone: a registered program can make its node the next one forced out."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        os.unlink(path)
    except OSError as why:
        if why.errno != errno.ENOENT:
            raise
    made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        made.bind(path)
    finally:
        os.umask(before)
    made.listen(BACKLOG)
    return made
