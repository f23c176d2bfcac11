"""What is known of a client service from the event stream alone (spec S9): part of :class:`hil.view.View`.

The steps of one service are told by whichever node has decided them, so the bench may read a step before one that
happened earlier. A registration has a number of its own and never goes back: that puts them in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

REMOVED = "removed"
"""Told as the state of a service that there is no more."""

DEREGISTERED = "de-registered"
_RANK = {"starting": 0, "registered": 1, "stopping": 2, "recovering": 3, DEREGISTERED: 4}
"""The order in which a registration passes through its states (spec S9.7)."""


@dataclass
class Registration:
    """One registration of a service: it ends as de-registered, the next one has a higher number."""

    number: int
    state: str
    node: int | None
    """None: no node is chosen for its recovery yet."""
    why: str
    n: int
    t: float
    """Number and time of the event that told of this state."""
    lost: bool = False
    """The machine of its node has ended since; the cluster has not said yet what becomes of it."""

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state != DEREGISTERED

    def __str__(self) -> str:
        """As "registered on node 1"."""
        if self.node is None:
            return self.state
        return f"{'lost with' if self.lost else f'{self.state} on'} node {self.node}"


@dataclass
class CommandView:
    """The newest command of one kind, of one service, on one node (event `service-command`)."""

    registration: int
    running: bool
    status: int | None
    """How it ended; minus the signal that ended it."""
    timed_out: bool
    n: int
    """The number of the event that told of it."""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Self:
        """Of an event."""
        running = event["state"] == "begun"
        status = None if running else int(event["status"])
        return cls(int(event["registration"]), running, status, bool(event.get("timed_out")), event.get("n", 0))


@dataclass
class ServiceView:
    """One client service."""

    name: str
    registrations: dict[int, Registration] = field(default_factory=dict)
    """Those that have not ended, and the newest one."""
    flags: str = ""
    """As in spec S9.9: T, N. That it awaits maturity (M) no event tells; ``hil service list`` does."""
    told_by: int = 0
    """The newest transaction of the database of which the events have told."""
    _ended: set[int] = field(default_factory=set)

    def apply(self, event: dict[str, Any]) -> None:
        """One event of kind `service`."""
        state, number = str(event["state"]), int(event["registration"])
        known = self.registrations.get(number)
        if number in self._ended:
            return
        if known is not None and _RANK[state] < _RANK[known.state]:
            return
        where = subject_of(event)
        told = Registration(number, state, where, str(event.get("why", "")), event.get("n", 0), event.get("t", 0.0))
        self.registrations[number] = told
        if not told.live:
            self._ended.add(number)
        if event.get("number", self.told_by) >= self.told_by:
            self.told_by, self.flags = event.get("number", self.told_by), str(event.get("flags", ""))
        self.registrations = {
            key: one for key, one in sorted(self.registrations.items()) if one.live or key == self.newest_number
        }

    def machine_ended(self, node: int) -> None:
        """All that ran there is gone."""
        for one in self.live:
            one.lost |= one.node == node

    @property
    def newest_number(self) -> int:
        """Of the newest registration; 0 before the first."""
        return max(self.registrations, default=0)

    @property
    def newest(self) -> Registration | None:
        """The newest registration, ended or not."""
        return self.registrations.get(self.newest_number)

    @property
    def live(self) -> list[Registration]:
        """Those that have not ended, oldest first."""
        return [one for one in self.registrations.values() if one.live]

    @property
    def running(self) -> list[Registration]:
        """Those whose node has not lost its machine."""
        return [one for one in self.live if not one.lost]

    @property
    def state(self) -> str:
        """Of the service as a whole: that of the newest registration that has not ended; "-": there is none.

        "lost" where its node's machine has ended and the cluster has not told yet what comes of it.
        """
        if not self.live:
            return "-"
        return "lost" if self.live[-1].lost else self.live[-1].state

    @property
    def registered_on(self) -> list[int]:
        """The nodes on which it is registered, ascending."""
        return sorted(one.node for one in self.running if one.state == "registered" and one.node is not None)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``hil status --json``; keys are stable."""
        newest = self.newest
        return {
            "state": self.state,
            "flags": self.flags,
            "nodes": {str(one.node): one.state for one in self.running if one.node is not None},
            "registration": self.newest_number,
            "why": "" if newest is None else newest.why,
        }

    def __str__(self) -> str:
        """As "registered on node 1"."""
        if self.live:
            return ", ".join(map(str, self.live))
        newest = self.newest
        return "not registered" + (f" ({newest.why} on node {newest.node})" if newest and newest.why else "")


def subject_of(event: Mapping[str, Any]) -> int | None:
    """The node that an event of a service is about; the event's `node` is who told of it."""
    where = event.get("subject", event.get("node"))
    return where if isinstance(where, int) else None
