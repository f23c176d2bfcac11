"""The client's two lines to a bench: one for calls, one for the event stream."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import threading
import time
from typing import Any

from hil.bench import address
from hil.errors import BenchDied, by_name

Event = dict[str, Any]


class Caller:
    """Calls to the bench of one cluster, one at a time: threads take turns."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self._socket: socket.socket | None = None
        self._pending = b""
        self._turn = threading.RLock()
        self.position = 0
        """The number of the newest event when the last verb was done."""

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call verb ``name``; its result. Raises what the bench raised, or :class:`BenchDied`."""
        result, _ = self._exchange(name, arguments)
        return result

    def call_for_socket(self, name: str, **arguments: Any) -> socket.socket:
        """Call a verb that answers with a connected socket."""
        _, descriptors = self._exchange(name, arguments)
        return socket.socket(fileno=descriptors[0])

    def close(self) -> None:
        """Hang up; the next call dials anew."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, name: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        with self._turn:
            return self._exchange_alone(name, arguments)

    def _exchange_alone(self, name: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        if self._socket is None:
            self._socket, self._pending = address.connect(self.cluster), b""
        descriptors: list[int] = []
        try:
            # A bench that refuses a client says why and hangs up at once, maybe before it was asked anything.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._socket.sendall(json.dumps({"call": name, "arguments": arguments}).encode() + b"\n")
            while b"\n" not in self._pending:
                data, received, _, _ = socket.recv_fds(self._socket, 65536, 1)
                descriptors += received
                if not data:
                    raise BenchDied(f"the bench of {self.cluster!r} ended during `{name}`")
                self._pending += data
        except BaseException as error:
            # Also when interrupted (Ctrl-C, a test's time limit): the answer still comes, and must not be taken for
            # that of the next call.
            self.close()
            if isinstance(error, OSError):
                raise BenchDied(f"the bench of {self.cluster!r} ended during `{name}`: {error}") from None
            raise
        line, _, self._pending = self._pending.partition(b"\n")
        reply = json.loads(line)
        if "error" in reply:
            raise by_name(reply["error"]["type"])(reply["error"]["message"])
        self.position = reply.get("n", 0)
        result: dict[str, Any] = reply["result"]
        return result, descriptors


class EventReader:
    """The event stream of one cluster from event ``since`` + 1 on."""

    def __init__(self, cluster: str, since: int = 0, *, follow: bool = True) -> None:
        self.cluster = cluster
        self.ended = False
        self._pending = b""
        self._socket = address.connect(cluster)
        request = {"call": "events", "arguments": {"since": since, "follow": follow}}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self._socket.close()
            raise BenchDied(f"the bench of {cluster!r} ended before it told of its events: {error}") from None
        self._socket.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)

    def read(self, timeout: float | None) -> list[Event]:
        """The next events; waits up to ``timeout`` seconds (None: for ever) for the first.

        An empty list means that the time is over, or, if :attr:`ended`, that there are no more.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._selector.select(left):
                return []
            try:
                data = self._socket.recv(1 << 20)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self.ended = True
                return []
            *lines, self._pending = (self._pending + data).split(b"\n")
            if lines:
                return [json.loads(line) for line in lines]
        return []

    def close(self) -> None:
        """Hang up."""
        self._selector.close()
        self._socket.close()
