"""Claim: every wait ends (S10.9): at an end at which nothing is wrong any more, nobody waits for anything.

What is waited for: to be admitted, a leave that was taken, and the acknowledgement of a late join. That all come
together at all is what such an end is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from hil.checkers.observation import Life


class Waits(Checker):
    """What each life waits for."""

    claim = "every wait ends (S10.9)"
    kinds = (
        *("waiting", "state", "order-taken", "left", "panic", "guestd-exited"),
        *("program", "membership", "notified", "acknowledged"),
    )
    needs = (Observation.EVENTS, Observation.MACHINES, Observation.REST)

    def __init__(self) -> None:
        self._waiting: dict[int, dict[tuple[object, ...], str]] = {}  # by node, of its present life

    def booted(self, node: Life) -> None:
        """Nobody waits for anything yet."""
        self._waiting[node.number] = {}

    def ended(self, node: Life) -> None:
        """Nobody waits any more."""
        self._waiting.pop(node.number, None)

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Waits begin and end."""
        if kind in ("notified", "acknowledged") and "late" not in fields:
            return
        waiting = self._waiting.setdefault(node.number, {})
        if kind == "waiting":
            waiting["join",] = f"waits for {fields['for']}"
        elif kind == "state":
            waiting.pop(("join",), None)
        elif kind == "order-taken" and fields.get("order") == "leave":
            waiting["leave",] = "is to leave"
        elif kind in ("left", "panic", "guestd-exited"):
            waiting.clear()
        elif kind == "program" and fields["state"] == "ended":
            self._drop(waiting, lambda step: step[1] == fields["program"])
        elif kind == "membership" and waiting:  # a forced leave aborts a late join
            lives = {(int(number), entry["incarnation"], entry["state"]) for number, entry in fields["nodes"].items()}
            self._drop(waiting, lambda step: not any((*step[2:4], state) in lives for state in ("joined", "joining")))
        elif kind in ("notified", "acknowledged"):
            step = ("late", fields["subsystem"], fields["subject"], fields["incarnation"], fields["barrier"])
            if kind == "notified":
                waiting[step] = f"waits for {fields['subsystem']}, which was told of node {fields['subject']}'s join"
            else:
                waiting.pop(step, None)

    def finished(self) -> None:
        """Nobody waits."""
        for number in sorted(self._waiting):
            for what in self._waiting[number].values():
                self.fail(f"node {number} {what}")

    @staticmethod
    def _drop(waiting: dict[tuple[object, ...], str], which: Any) -> None:
        for step in [step for step in waiting if step[0] == "late" and which(step)]:
            del waiting[step]
