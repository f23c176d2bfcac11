"""What the live view hears from a cluster, and what it has done to it; neither ever makes the view wait.

One thread reads the event stream, one more carries each order out. What they have to tell lies in :attr:`Source.told`
until the application takes it.

A bench takes any number of clients: each order has one of its own, so that a long one holds up neither another nor the
events. A simulated cluster has a single client in this process, and its clock goes on only while that one reads: there
the threads take turns, and the clock is held to the pace of the host's.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from hil.client import Cluster
from hil.client.backend import Guests
from hil.client.connection import Event
from hil.errors import HilError

PERIOD_S: Final = 0.1
"""So long the reader waits for events before it looks whether it is to end."""

LAG_S_MAX: Final = 1.0
"""A simulation that is slower than its pace by more than this does not try to catch up."""

Order = Callable[[Cluster], str]
"""Does something to the cluster; the sentence that tells what came of it."""


@dataclass(frozen=True)
class Happened:
    """The next events of the stream."""

    events: list[Event]


@dataclass(frozen=True)
class Begun:
    """An order is being carried out."""

    what: str


@dataclass(frozen=True)
class Done:
    """An order has been carried out, or has failed; ``said``: what came of it."""

    what: str
    said: str
    failed: bool


@dataclass(frozen=True)
class Ended:
    """There are no more events; ``why`` is empty where the last ones tell."""

    why: str = ""


Told = Happened | Begun | Done | Ended


class Source:
    """Of the cluster of one client, which must be nobody else's between :meth:`start` and :meth:`close`."""

    def __init__(self, cluster: Cluster, *, pace: float = 1.0) -> None:
        """``pace``: seconds of a simulated cluster's clock in one of the host's."""
        self.cluster = cluster
        self.told: SimpleQueue[Told] = SimpleQueue()
        self._turn = None if isinstance(cluster.backend, Guests) else threading.Lock()
        self._pace = 1.0 if self._turn is None else pace
        self._idle = [cluster]
        self._closing = threading.Event()
        self._reading = threading.Thread(target=self._read, name="live-events", daemon=True)

    def start(self) -> None:
        """From now on things are told: first all that has happened since the cluster began."""
        self._reading.start()

    def close(self) -> None:
        """Nothing is told any more. An order that is under way ends by itself; the cluster goes on."""
        self._closing.set()
        if self._reading.ident is not None:
            self._reading.join()
        for client in self._idle:
            if client is not self.cluster:
                client.close()

    def order(self, what: str, order: Order) -> None:
        """Have ``order`` carried out; ``what`` names it in the answers."""
        self.told.put(Begun(what))
        threading.Thread(target=self._carry_out, args=(what, order), name=f"live: {what}", daemon=True).start()

    # -- in threads of their own

    def _read(self) -> None:
        backend = self.cluster.backend
        try:
            with contextlib.closing(backend.reader()) as reader:
                began_s, began_clock_s = time.monotonic(), backend.now()
                while not self._closing.is_set():
                    with self._turn or contextlib.nullcontext():
                        events = reader.read(PERIOD_S * self._pace)
                        clock_s = backend.now()
                    if events:
                        self.told.put(Happened(events))
                    if reader.ended:
                        self.told.put(Ended())
                        return
                    ahead_s = (clock_s - began_clock_s) / self._pace - (time.monotonic() - began_s)
                    if ahead_s > 0:
                        self._closing.wait(ahead_s)
                    elif ahead_s < -LAG_S_MAX:
                        began_s, began_clock_s = time.monotonic(), clock_s
        except HilError as error:  # a bench that is gone; in a simulation also a claim that does not hold
            self.told.put(Ended(str(error)))

    def _carry_out(self, what: str, order: Order) -> None:
        try:
            with self._client() as cluster:
                said, failed = order(cluster), False
        except HilError as error:
            said, failed = str(error), True
        except Exception as error:  # noqa: BLE001 - nobody else could tell the person who waits for it
            said, failed = f"this is a fault of hil itself: {type(error).__name__}: {error}", True
        self.told.put(Done(what, said, failed))

    @contextlib.contextmanager
    def _client(self) -> Iterator[Cluster]:
        """One that no other order has."""
        if self._turn is not None:
            with self._turn:
                yield self.cluster
            return
        try:
            cluster = self._idle.pop()
        except IndexError:
            cluster = type(self.cluster)(self.cluster.name)
        try:
            yield cluster
        finally:
            self._idle.append(cluster)
