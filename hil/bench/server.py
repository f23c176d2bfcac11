"""The bench's socket: requests in, answers and events out, one JSON object per line.

::

    -> {"call": "power_off", "arguments": {"nodes": [0, 1]}}
    <- {"result": {…}, "n": 17}             or {"error": {"type": "UnknownNode", "message": "…"}}
    -> {"call": "events", "arguments": {"since": 0, "follow": true}}
    <- {"n": 1, "t": 0.0, "kind": …}        one line per event until the bench ends
    -> {"call": "open_ssh", "arguments": {"node": 1}}
    <- {"result": {}}                       with the connected socket attached (SCM_RIGHTS)

``n`` is the newest event when the verb was done: a client whose stream has come that far has seen what the verb did.

One thread per client: a client that is slow, or stuck, holds up nobody else. Only the user who started the bench is
answered; an abstract socket has no file mode, so the kernel's word for the peer's user is checked.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import traceback
from typing import Any

from hil.bench import address
from hil.bench.calls import CALLS, bound
from hil.bench.cluster import Bench
from hil.bench.log import EventLog
from hil.errors import HilError, LaboratoryError, UsageError

MAX_REQUEST = 1 << 20
CLIENTS_MAX = 200
"""Each has a thread and a descriptor, and the machines need descriptors, too. People and tests have a handful."""


class Server:
    """Serves clients from the moment the bench has a log; verbs wait until the cluster has been set up."""

    def __init__(self, listener: socket.socket, log: EventLog) -> None:
        self._listener = listener
        self._log = log
        self._ready = threading.Event()
        self._bench: Bench | None = None
        self._clients: list[tuple[threading.Thread, socket.socket]] = []
        self._registering = threading.Lock()
        self._over = False
        self._told = threading.Event()

    def start(self) -> None:
        """Accept clients in a thread of its own, until the process ends."""
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def open(self, bench: Bench | None) -> None:
        """The set-up is over: verbs may run (None: it failed, verbs are refused)."""
        self._bench = bench
        self._ready.set()

    def await_reader(self, timeout_s: float) -> None:
        """Until somebody has been sent all events; the log must be closed already.

        A bench that cannot set up its cluster may end before whoever started it has connected: why it ends would be
        said to nobody.
        """
        self._told.wait(timeout_s)

    def finish(self, timeout_s: float) -> None:
        """Let the clients read the last events; the log must be closed already."""
        with self._registering:  # a client may be quick to say `down`: it is waited for, too
            self._over = True
            clients = list(self._clients)
        for _, connection in clients:
            with contextlib.suppress(OSError):  # it has hung up already
                connection.shutdown(socket.SHUT_RD)  # no more requests; answers and events still go out
        deadline = time.monotonic() + timeout_s  # for all of them together
        for client, _ in clients:
            client.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if address.peer_user(connection) != os.getuid():
                connection.close()
                continue
            self._clients = [entry for entry in self._clients if entry[0].is_alive()]
            if len(self._clients) >= CLIENTS_MAX:
                with connection, contextlib.suppress(OSError):
                    _refuse(connection, LaboratoryError(f"{CLIENTS_MAX} clients are connected, which is the limit"))
                continue
            client = threading.Thread(target=self._serve, args=(connection,), name="client", daemon=True)
            with self._registering:
                client.start()
                self._clients.append((client, connection))
                if self._over:  # it came too late to be hung up on with the others
                    with contextlib.suppress(OSError):  # or has hung up already
                        connection.shutdown(socket.SHUT_RD)

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as requests, contextlib.suppress(OSError):
            while line := requests.readline(MAX_REQUEST):
                self._answer(connection, line)

    def _answer(self, connection: socket.socket, line: bytes) -> None:
        try:
            call, arguments = _parse(line)
            if call != "events":
                result, opened = self._call(call, arguments)
                _reply(connection, {"result": result, "n": self._log.position}, opened)
                return
            stream = bound(self._stream, {"connection": connection, **arguments})
        except HilError as error:
            _refuse(connection, error)
        else:
            stream()  # outside of the try: a client that hangs up here ends its thread, and that is all

    def _call(self, call: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], socket.socket | None]:
        """The verb's result, and the socket that goes with it. Raises :class:`HilError`, also for a bug of ours."""
        if call == "status":  # needs the log only: it is answered while the cluster is being set up, too
            return self._log.status(), None
        self._ready.wait()
        if self._bench is None:
            if call == "down":
                return {}, None  # it ends anyway
            raise LaboratoryError("the bench is ending, or could not set up its cluster; see bench.log")
        verb = bound(getattr(self._bench, call), arguments)
        try:
            result = verb()
        except HilError:
            raise
        except Exception as error:  # the client must hear of it; the traceback goes to bench.log
            traceback.print_exc()
            raise LaboratoryError(f"the bench has a bug: {error!r}; see bench.log") from error
        return ({}, result) if isinstance(result, socket.socket) else (result, None)

    def _stream(self, connection: socket.socket, since: int = 0, follow: bool = True) -> None:
        for chunk in self._log.follow(since, follow):
            connection.sendall(chunk)
        if follow:  # so this is the end of the log
            self._told.set()
        connection.shutdown(socket.SHUT_RDWR)


def _refuse(connection: socket.socket, error: HilError) -> None:
    _reply(connection, {"error": {"type": type(error).__name__, "message": str(error)}})


def _reply(connection: socket.socket, reply: dict[str, Any], opened: socket.socket | None = None) -> None:
    data = json.dumps(reply).encode() + b"\n"
    if opened is None:
        connection.sendall(data)
    else:
        with opened:
            socket.send_fds(connection, [data], [opened.fileno()])


def _parse(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        request = json.loads(line)
        call, arguments = request["call"], request.get("arguments", {})
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError('a request is one line {"call": NAME, "arguments": {…}}') from None
    if call not in (*CALLS, "events") or not isinstance(arguments, dict):
        raise UsageError(f"no call {call!r}; there are: events, {', '.join(CALLS)}")
    return call, arguments
