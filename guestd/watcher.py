"""For programs that watch for events, on behalf of their node's event manager (spec S8.1, S8.6; docs/event-manager.md).

    with connect("queue-length", in_parameters=[parameter("path"), parameter("above", "integer")],
                 out_parameters=[parameter("entries", "integer")]) as watcher:
        while True:
            for watch in watcher.watches(timeout_s=1):
                entries = len(os.listdir(watch["path"]))
                if entries > watch["above"]:
                    watcher.occurred(watch, entries=entries)

A watch is one event that is enabled on this node. The event manager asks now and then whether its watchers are there;
`watches` answers, and a watcher that stays away from it for longer than 10 s is taken for one that hangs.

Errors, all of them ClientError (guestd.connection):

    WatcherRefused  the event manager does not want this watcher; says why and what would be legal
    Disconnected    the event manager has ended, or has cut the connection
    Misused         it did not understand, or does not know a parameter; says what would be legal
"""

from __future__ import annotations

import select
import sys
import time

from guestd.connection import ClientError, Connection, Disconnected, Misused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Self

__all__ = [
    "PATH",
    "ClientError",
    "Disconnected",
    "Misused",
    "Watch",
    "Watcher",
    "WatcherRefused",
    "connect",
    "parameter",
    "run",
]

PATH = "/run/hil/events.sock"
# From one message about a watch to the next; what occurs in between is counted, and the last of it is sent then. The
# event manager takes six messages in a second for each watch, and cuts a watcher off that sends more.
SPACING_S = 0.25


class WatcherRefused(ClientError):
    """The event manager does not want this watcher."""


class Watch:
    """One event that is enabled here. `watch["path"]` is its IN parameter of that name."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.number: int = told["watch"]
        self.event: str = told["event"]
        self.inputs: dict[str, Any] = told["in"]  # with defaults
        self.memory: Any = None  # the watcher's own: what it has to know from one look to the next
        self.next_s = 0.0  # the same: when it looks again, by time.monotonic

    def __getitem__(self, name: str) -> Any:
        return self.inputs[name]

    def get(self, name: str) -> Any:
        """The value of an IN parameter; None if the event does not have it."""
        return self.inputs.get(name)


class _Spacing:
    """What was sent about one watch, and what waits to be."""

    def __init__(self) -> None:
        self.next_s = 0.0
        self.count = 0
        self.outputs: dict[str, Any] = {}
        self.trouble = ""


class Watcher:
    """One connected watcher. Made by `connect`; not for several threads at once."""

    def __init__(self, connection: Connection, declared: dict[str, Any], timeout_s: float | None) -> None:
        """Declare, and wait for the answer."""
        self._connection = connection
        self._watches: dict[int, Watch] = {}
        self._spacing: dict[int, _Spacing] = {}
        self._transitions: list[dict[str, Any]] = []
        self._changed = False
        self._connection.send(watcher=declared)
        message = self._connection.read(timeout_s)
        if "refused" in message:
            raise WatcherRefused(message["refused"])
        self.node: int = message["connected"]["node"]

    def watches(self, timeout_s: float, descriptors: Sequence[int] = ()) -> list[Watch]:
        """Wait so long, and return all events that are enabled now; also sooner: when these have changed, when a
        transition has come, or one of these file descriptors is readable.

        A watch is the same object from one call to the next. Raises Disconnected, Misused.
        """
        until_s = time.monotonic() + timeout_s
        self._take_all()
        while not self._changed and not self._transitions:
            self._send_due()
            now_s = time.monotonic()
            if now_s >= until_s or self._wait(min(until_s, *self._due_s(), until_s) - now_s, descriptors):
                break
            self._take_all()
        self._changed = False
        return list(self._watches.values())

    def occurred(self, watch: Watch, **outputs: Any) -> None:
        """The event has occurred; these are its OUT parameters. It may be said for a watch that has just been ended.

        What is said more often than four times in a second is counted, and said together: the last of it counts.
        Raises Disconnected.
        """
        if watch.number in self._spacing:
            spacing = self._spacing[watch.number]
            spacing.count += 1
            spacing.outputs = outputs
            self._send_due()

    def trouble(self, watch: Watch, why: str = "") -> None:
        """The event cannot be watched for at present, and why; "" when it can again. May be said each time.

        Raises Disconnected.
        """
        if watch.number in self._spacing and self._spacing[watch.number].trouble != why:
            self._spacing[watch.number].trouble = why
            self._connection.send(trouble={"watch": watch.number, "why": why})

    def transitions(self) -> list[dict[str, Any]]:
        """Of the cluster's nodes, since the last call, for a watcher that follows them.

        Each has node, incarnation, transition (join, leave, forced-leave), members (the nodes that are, afterwards),
        and watches: the numbers of those that were enabled when it happened.
        """
        taken, self._transitions = self._transitions, []
        return taken

    def close(self) -> None:
        """Raises nothing; to the event manager it is the end of this watcher."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, timeout_s: float, descriptors: Sequence[int]) -> bool:
        """Until something is readable; whether it is one of those."""
        poll = select.poll()
        for descriptor in (self._connection.fileno(), *descriptors):
            poll.register(descriptor, select.POLLIN)
        # A millisecond more: what is due is due then.
        ready = poll.poll(max(0, timeout_s) * 1000 + 1)
        return any(descriptor != self._connection.fileno() for descriptor, _ in ready)

    def _take_all(self) -> None:
        """Everything that the event manager has said. At its end, what is here already is sent first."""
        while True:
            try:
                message = self._connection.read(0)
            except TimeoutError:
                return
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "ping" in message:
            self._connection.send(pong=message["ping"])
        elif "watch" in message:
            watch = Watch(message["watch"])
            self._watches[watch.number] = watch
            self._spacing[watch.number] = _Spacing()
            self._changed = True
        elif "unwatch" in message:
            self._watches.pop(message["unwatch"], None)
            self._spacing.pop(message["unwatch"], None)
            self._changed = True
        elif "transition" in message:
            self._transitions.append(message["transition"])
        elif "error" in message:
            raise Misused(message["error"])

    def _due_s(self) -> list[float]:
        return [spacing.next_s for spacing in self._spacing.values() if spacing.count]

    def _send_due(self) -> None:
        now_s = time.monotonic()
        for number, spacing in self._spacing.items():
            if spacing.count and now_s >= spacing.next_s:
                occurred = {"watch": number, "out": spacing.outputs, "count": spacing.count}
                spacing.next_s, spacing.count = now_s + SPACING_S, 0
                self._connection.send(occurred=occurred)


def parameter(name: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    """An IN or OUT parameter. kind: string, integer, number or boolean. An IN parameter is required, unless it has a
    `default`, or `required=False`.
    """
    return {"name": name, "type": kind, **more}


def connect(
    name: str,
    in_parameters: Sequence[dict[str, Any]] = (),
    out_parameters: Sequence[dict[str, Any]] = (),
    *,
    follows: bool = False,
    path: str = PATH,
    timeout_s: float | None = 60,
) -> Watcher:
    """Connect to this node's event manager as a watcher of that name, which no other watcher of this node has.

    follows: it is told the transitions of the cluster's nodes. For the watchers that come with the system, what they
    declare is known already (guestd/events/watchers.py).

    Raises WatcherRefused, Disconnected, TimeoutError, and OSError if there is no event manager.
    """
    connection = Connection(path)
    try:
        declared: dict[str, Any] = {"name": name, "in": list(in_parameters), "out": list(out_parameters)}
        if follows:
            declared["follows"] = True
        return Watcher(connection, declared, timeout_s)
    except BaseException:
        connection.close()
        raise


def run(name: str, serve: Callable[[Watcher], None]) -> None:
    """The whole of a watcher that comes with the system: it ends when its event manager ends.

    The first argument of the command line is the socket, if there is one.
    """
    try:
        with connect(name, path=sys.argv[1] if len(sys.argv) > 1 else PATH) as watcher:
            serve(watcher)
    except Disconnected:
        pass
    except (ClientError, OSError) as why:
        sys.exit(f"{name}: {why}")
