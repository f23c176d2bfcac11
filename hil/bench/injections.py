"""The bench's book of injections: faults of the library (:mod:`hil.faults`), with their numbers, until they are undone.

Who injects a fault and who heals it may be two processes: what healing needs is kept here as ``state``. Each step is an
event ``injection`` (docs/events.md).
"""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from typing import Any

from hil.bench.disk import check_nodes
from hil.bench.log import EventLog
from hil.errors import UsageError

STEPS = ("begun", "nothing", "holds", "recovering", "undone", "failed")
"""``nothing``: it found nobody to strike. ``failed``: it did not take hold, or was not undone; then it is tried to undo
it.
"""

OVER = ("undone", "nothing")
PLAN_STEPS = ("begun", "over")


class InjectionVerbs(ABC):
    """Verbs are called from the clients' threads."""

    log: EventLog

    def __init__(self) -> None:
        self._injections: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._book = threading.Lock()

    @abstractmethod
    def node_count(self) -> int:
        """How many nodes there are."""

    def begin_injection(
        self, fault: str, whom: str, nodes: list[int], parameters: dict[str, Any], shown: bool = False
    ) -> dict[str, Any]:
        """A fault is about to be injected: its number.

        ``whom``: the role that was asked for; ``nodes``: what it came to; ``shown``: nobody else tells of the fault, so
        the events ``fault-injected`` and ``fault-healed`` are told here.
        """
        check_nodes(nodes, self.node_count())
        with self._book:
            number = next(self._numbers)
            about = {"fault": fault, "whom": whom, "nodes": nodes, "parameters": parameters}
            self._injections[number] = {"number": number, **about, "state": {}, "step": "begun", "shown": shown}
        self.log.emit("injection", injection=number, step="begun", **about)
        return {"number": number}

    def note_injection(
        self,
        number: int,
        step: str | None = None,
        state: dict[str, Any] | None = None,
        why: str | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """A step is done, or (None) only ``state`` is to be kept. ``seconds``: since the step before was begun."""
        with self._book:
            known = self._injections.get(number)
            if known is None or step not in (*STEPS, None):
                raise (
                    self._unknown(number) if known is None else UsageError(f"step {step!r}; legal: {', '.join(STEPS)}")
                )
            if state is not None:
                known["state"] = state
            if step is None or step == known["step"]:
                return {}
            known["step"] = step
            if step in OVER:
                del self._injections[number]
        told: dict[str, Any] = {} if why is None else {"why": why}
        if seconds is not None:
            told["seconds"] = round(seconds, 3)
        self.log.emit("injection", injection=number, step=step, fault=known["fault"], nodes=known["nodes"], **told)
        if known["shown"] and step in ("holds", "undone"):
            kind = "fault-injected" if step == "holds" else "fault-healed"
            for node in known["nodes"]:
                self.log.emit(kind, fault=known["fault"], number=number, node=node, verified=True)
        return {}

    def note_plan(self, step: str, about: dict[str, Any]) -> dict[str, Any]:
        """A plan of faults is begun, or over; ``about``: what it is, and what became of it."""
        if step not in PLAN_STEPS:
            raise UsageError(f"note_plan: step {step!r}; legal: {', '.join(PLAN_STEPS)}")
        self.log.emit("fault-plan", **{**about, "step": step})
        return {}

    def injections(self) -> dict[str, Any]:
        """Those that are not undone, by number."""
        with self._book:
            return {"injections": [dict(self._injections[number]) for number in sorted(self._injections)]}

    def _unknown(self, number: int) -> UsageError:
        there = ", ".join(map(str, sorted(self._injections))) or "none"
        return UsageError(f"no injection {number}; there are: {there}")
