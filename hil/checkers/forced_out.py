"""Claim: a life that was forced out never comes back (S6.1).

No view after the one that forces it out has it as a member again, wherever that view is read; and in the end it has
panicked or is off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guestd.membership.states import NodeState
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.checkers.observation import Life

_LIVE = tuple(state.value for state in NodeState if state.live)
_NEVER = (0, -1)


class ForcedOut(Checker):
    """Lives by the first view that forces them out, and by the last one that has them as members."""

    claim = "a life that was forced out never comes back (S6.1)"
    kinds = ("membership",)
    also = (Observation.CONTENTS, Observation.MACHINES, Observation.REST)

    def __init__(self) -> None:
        self._out: dict[tuple[int, int], tuple[int, int]] = {}
        self._in: dict[tuple[int, int], tuple[int, int]] = {}
        self._running: dict[int, Life] = {}

    def committed(self, node: Life, life: int, view: View) -> None:
        """Every commit."""
        for subject, entry in enumerate(view.entries):
            if entry.forced or entry.live:
                self._note((subject, entry.incarnation), view.order, forced=entry.forced)

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """What nodes take in, where what is committed cannot be read."""
        if self.sees(Observation.CONTENTS):
            return
        order = (fields["epoch"], fields["step"])
        for subject, entry in fields["nodes"].items():
            if entry["state"] in _LIVE or entry["state"] == "forced-leaving":
                life = (int(subject), entry["incarnation"])
                self._note(life, order, forced=entry["state"] not in _LIVE)

    def booted(self, node: Life) -> None:
        """It runs."""
        self._running[node.number] = node

    def ended(self, node: Life) -> None:
        """It does not run any more."""
        self._running.pop(node.number, None)

    def finished(self) -> None:
        """Nobody runs on who is out."""
        for node in self._running.values():
            if (node.number, node.incarnation) in self._out:
                self.fail(f"node {node.number} (incarnation {node.incarnation}) was forced out and still runs")

    def _note(self, life: tuple[int, int], order: tuple[int, int], *, forced: bool) -> None:
        """In whatever order they are read."""
        if forced:
            self._out[life] = min(order, self._out.get(life, order))
        else:
            self._in[life] = max(order, self._in.get(life, order))
        out = self._out.get(life)
        if out is not None and self._in.get(life, _NEVER) > out:
            self.fail(
                f"node {life[0]} (incarnation {life[1]}) was forced out by view {out[0]}.{out[1]},"
                f" and is a member in view {self._in[life][0]}.{self._in[life][1]}"
            )
