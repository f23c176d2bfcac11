"""The injections of a recorded run: faults of the library, by their events ``injection``, and what else they caused.

The bench tells of most faults of the library twice: as an injection, with its kind, its parameters and whom it was to
strike, and as what one of its verbs has done. The second is claimed here, so that it counts once. A verb of the same
kind on the same nodes that somebody else calls within the same step of an injection is taken for the injection's: the
stream does not say who has called it, and it makes no difference to the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hil.evidence.found import Found
from hil.scsi.faults.kinds import VOLATILE_CACHE

if TYPE_CHECKING:
    from hil.view import Event

KEEPS_DOWN: Final = frozenset({"power-off", "shutdown", "panic", "guestd-kill"})
"""Kinds that are over when somebody switches the machine on."""

_OF_ALL: Final = f"disk-{VOLATILE_CACHE}"
"""The disk has one cache: its fault may be one for all nodes."""
_ORDERS: Final = {"leave": "shutdown", "panic": "panic"}
_UNDOING: Final = ("recovering", "failed")
_POWER: Final = {
    ("off", True): frozenset({"power-off", "power-cycle"}),
    ("on", True): frozenset({"power-cycle"}),
    ("off", False): frozenset({"panic", "guestd-kill"}),
    ("on", False): KEEPS_DOWN,
}
"""By which kinds power goes off or on, while they are injected (True), or undone."""


@dataclass
class _Injected:
    found: Found
    step: str = "begun"
    claimed: set[int] = field(default_factory=set)
    """The nodes of which the bench has told by itself that it is injected; -1: of all in one."""


class Book:
    """``failed``: what was injected and never took hold, and why."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self._known: dict[int, _Injected] = {}

    def begun(self, event: Event) -> Found:
        """A fault is about to be injected; whether it takes hold is told later."""
        found = Found(event["fault"], tuple(event["nodes"]), event["t"], event["parameters"], held=False)
        self._known[event["injection"]] = _Injected(found)
        return found

    def goes_on(self, event: Event) -> None:
        """A later step of an injection."""
        known = self._known.get(event["injection"])
        if known is None:  # begun before a checkpoint
            return
        before, known.step = known.step, event["step"]
        if known.step in ("nothing", "failed") and before == "begun":
            self.failed.append(f"event {event['n']}: {event['fault']}: it did not take hold: {event.get('why')}")
        if known.step == "holds":
            known.found.held = True
        elif known.step in _UNDOING or known.step == "undone":
            known.found.over(event["t"])

    def cut_short(self) -> None:
        """The recording ends: what was being injected is played, and need not take hold."""
        for known in self._known.values():
            if known.step == "begun" and known.found.nodes:
                known.found.held = known.found.unseen = True

    def of(self, number: int) -> Found | None:
        """The injection of that number."""
        known = self._known.get(number)
        return None if known is None else known.found

    def claim(self, kind: str, node: int | None) -> Found | None:
        """The injection that has had the bench tell of ``kind`` on ``node`` (None: on all in one), each time once."""
        place = -1 if node is None else node
        for known in self._known.values():
            there = kind == _OF_ALL if node is None else node in known.found.nodes
            if known.found.kind == kind and known.step in ("begun", "holds") and there and place not in known.claimed:
                known.claimed.add(place)
                return known.found
        return None

    def has_ordered(self, order: str, node: int) -> bool:
        """Whether it was an injection's order, ``leave`` or ``panic``."""
        return self.claim(_ORDERS[order], node) is not None

    def has_switched(self, action: str, nodes: Iterable[int]) -> bool:
        """Whether it was for an injection that power went ``off`` or ``on``."""
        return any(
            known.found.kind in _POWER[action, known.step == "begun"] and set(nodes) <= set(known.found.nodes)
            for known in self._known.values()
            if known.step in ("begun", *_UNDOING)
        )
