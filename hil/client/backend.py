"""What is behind a cluster's client: a bench with guests in a process of its own, or a simulation in this one.

The client is one code for both (:mod:`hil.client.cluster`). It calls verbs, reads events, and asks for the time here;
on guests that is the host's, in a simulation the virtual clock, which goes on only while somebody waits.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hil.bench import address
from hil.client.connection import Caller, Event, EventReader
from hil.errors import EventManagerAway, LaboratoryError, UsageError
from hil.evidence import layout

if TYPE_CHECKING:
    from hil.client.node import Node


class Calls(Protocol):
    """Verbs of the bench, one at a time. ``position``: the number of the newest event when the last one was done."""

    position: int

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call verb ``name``; its result. Raises what the bench raises."""

    def call_for_socket(self, name: str, **arguments: Any) -> socket.socket:
        """Call a verb that answers with a connected socket."""

    def close(self) -> None:
        """Hang up."""


class Reader(Protocol):
    """The event stream from some number on. ``ended``: there are no more."""

    ended: bool

    def read(self, timeout: float | None) -> list[Event]:
        """The next events; waits up to ``timeout`` seconds of the back end's clock (None: for ever) for the first."""

    def close(self) -> None:
        """Hang up."""


class Backend(Protocol):
    """Of one cluster."""

    name: str
    caller: Calls
    simulated: bool
    """Whether its nodes are simulated: no real program runs on them."""

    def reader(self, since: int = 0, *, follow: bool = True) -> Reader:
        """The events after number ``since``; with ``follow`` also those that are yet to come."""

    def run_dir(self, first: Event) -> Path:
        """Where the evidence is; ``first``: the first event."""

    def now(self) -> float:
        """Seconds of a clock that only goes forward."""

    def pass_time(self, seconds: float) -> None:
        """Return so much later."""

    def speed_factor(self, accelerator: str) -> float:
        """By how much the cluster may be slower than one on a fast machine; time limits are multiplied by it."""

    def require(self, what: str) -> None:
        """Raises :class:`UsageError` if this back end cannot do that; what, why, and which one can."""

    def ask_event_manager(self, node: Node, request: dict[str, Any]) -> dict[str, Any]:
        """One line to the event manager of ``node``, and its answer.

        Raises :class:`EventManagerAway` if it was not asked, other errors if that is not known.
        """

    def locks_of(self, node: Node) -> dict[str, Any]:
        """What the lock manager of ``node`` knows: the answer to ``{"show": "locks"}`` (docs/programs.md)."""

    def await_gone(self, deadline: float) -> None:
        """The stream has ended: return when nothing of the cluster is left."""

    def another(self) -> Backend:
        """The same cluster, for another client."""

    def beside(self, act: Callable[[], float | None]) -> Callable[[], None]:
        """Call ``act`` now, and whenever this clock has come to what it answers, until it answers None.

        What is returned ends that, and returns when ``act`` is not called any more. What ``act`` raises ends it, too.
        """


ANSWER_S_MAX = 120.0
"""For an answer of an event manager; it has to wait for the database's lock, which a recovery holds back."""

_NOBODY_LISTENS = (errno.ENOENT, errno.ECONNREFUSED)
"""With these `guestctl` says that nothing was asked."""

_MADE_BY_HOST = "the delays and clocks of guests are what the host makes of them"
ONLY_SIMULATED = {
    "simulation": _MADE_BY_HOST,
    "simulation.lose_datagrams": "the interconnect of guests loses nothing by itself; `cluster.cut_link` cuts it",
    "simulation.slow_down": _MADE_BY_HOST,
    "simulation.drift": _MADE_BY_HOST,
}
"""What guests cannot do, and why."""


_REFUSALS: list[str] = []


def refuse_guests(why: str) -> Callable[[], None]:
    """From now on nobody in this process starts guests; what is returned undoes it."""
    _REFUSALS.append(why)
    return partial(_REFUSALS.remove, why)


def check_guests() -> None:
    """Raises :class:`UsageError` where guests are not to be started."""
    if _REFUSALS:
        raise UsageError(_REFUSALS[-1])


class Guests:
    """The bench process that answers to ``name``."""

    simulated = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.caller: Calls = Caller(name)

    def reader(self, since: int = 0, *, follow: bool = True) -> Reader:
        """Over a connection of its own."""
        return EventReader(self.name, since, follow=follow)

    def run_dir(self, first: Event) -> Path:
        """The bench says it."""
        return Path(first["run_dir"])

    def now(self) -> float:
        """The host's monotonic clock."""
        return time.monotonic()

    def pass_time(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def speed_factor(self, accelerator: str) -> float:
        """Measured."""
        from hil.machine import speed_factor

        return speed_factor(accelerator)

    def require(self, what: str) -> None:
        """Raises :class:`UsageError` for what only a simulation has."""
        if what in ONLY_SIMULATED:
            raise UsageError(f"{what}: {ONLY_SIMULATED[what]}; `--backend sim` can")

    def ask_event_manager(self, node: Node, request: dict[str, Any]) -> dict[str, Any]:
        """Over SSH: `guestctl` on the node hands the line to the event manager's socket."""
        line = json.dumps(request).encode() + b"\n"
        done = node.exchange("guestctl service raw", line, timeout=ANSWER_S_MAX)
        if done.status != 0:
            why = done.complained.strip() or f"guestctl ended with status {done.status}"
            asked = not any(f"[Errno {number}]" in why for number in _NOBODY_LISTENS)
            raise (LaboratoryError if asked else EventManagerAway)(f"node {node.id}: {why}")
        try:
            answer: dict[str, Any] = json.loads(done.said)
        except ValueError:
            raise LaboratoryError(f"node {node.id}: the event manager's answer is no JSON: {done.said!r}") from None
        return answer

    def locks_of(self, node: Node) -> dict[str, Any]:
        """Over SSH: `guestctl locks` on the node."""
        done = node.ssh("guestctl locks --json")
        if done.exited != 0:
            raise LaboratoryError(f"node {node.id}: {done.stderr.strip()}")
        known: dict[str, Any] = json.loads(done.stdout)
        return known

    def await_gone(self, deadline: float) -> None:
        """The outermost process of the bench ends milliseconds after the bench; nothing tells of that."""
        while self.name in address.running_clusters():
            if time.monotonic() > deadline:
                raise LaboratoryError(f"the bench of {self.name!r} ended, but its name is still taken")
            time.sleep(0.005)

    def another(self) -> Backend:
        """Connections of its own."""
        return Guests(self.name)

    def beside(self, act: Callable[[], float | None]) -> Callable[[], None]:
        """In a thread."""
        stopped = threading.Event()

        def run() -> None:
            with contextlib.suppress(Exception):  # who gave us `act` knows
                while not stopped.is_set() and (due_s := act()) is not None:
                    stopped.wait(max(0.0, due_s - self.now()))

        thread = threading.Thread(target=run, name="beside", daemon=True)
        thread.start()

        def stop() -> None:
            stopped.set()
            thread.join()

        return stop


def settings_of(run_dir: Path) -> dict[str, Any]:
    """``cluster.json``: what the cluster was asked to be, and what it is."""
    settings: dict[str, Any] = json.loads((run_dir / layout.CLUSTER).read_text(encoding="utf-8"))
    return settings
