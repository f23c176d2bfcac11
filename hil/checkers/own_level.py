"""Claim: a level is told nothing before its own node's join has come to it (S4.5), and nothing after it has
acknowledged its own node's leave (S4.9).

Nor is a program after it was de-registered, whatever it was that ended its registration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from guestd.core.node import built_in_levels
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation
from hil.checkers.registrations import Registrations

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.checkers.observation import Life

_LEVELS: Final = {level.name: level for level in built_in_levels()}


class OwnLevel(Checker):
    """How far each life's own join has come, which of its built-in subsystems have left, and which programs ended."""

    claim = "a level is told something from its own node's join to its own node's leave, and not else (S4.5, S4.9)"
    kinds = ("notified", "acknowledged", "program")
    also = (Observation.INSIDE,)  # a recorded run does not tell whether a commit or what it led to was first

    def __init__(self) -> None:
        self._left: set[tuple[int, int, str]] = set()  # (node, life, subsystem)
        self._registrations = Registrations()
        self._reach: dict[tuple[int, int], int] = {}  # (node, incarnation) -> the highest level its join has come to

    def committed(self, node: Life, life: int, view: View) -> None:
        """How far each life's join has come."""
        for subject, entry in enumerate(view.entries):
            if entry.live:
                key = (subject, entry.incarnation)
                self._reach[key] = max(self._reach.get(key, 0), entry.reach)

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """What a subsystem is told, and that it has acknowledged its own leave."""
        if kind == "program":
            self._registered(node, fields)
            return
        own = (node.number, node.life, fields["subsystem"])
        if fields["subsystem"] not in _LEVELS:
            if kind == "notified" and own in self._left:
                self.fail(f"node {node.number} was told {fields} after {fields['subsystem']} was de-registered")
            return
        if kind == "acknowledged":
            last = fields["barrier"] + 1 == _LEVELS[fields["subsystem"]].barriers_of(fields["transition"])
            if last and (fields["subject"], fields["transition"]) == (node.number, "leave"):
                self._left.add(own)
            return
        if own in self._left:
            self.fail(
                f"node {node.number} was told {fields} after {fields['subsystem']} had acknowledged its own leave"
            )
        if self.sees(Observation.INSIDE) and fields["level"] > self._reach.get((node.number, node.incarnation), -1):
            self.fail(f"node {node.number} was told {fields} before its own join had come to level {fields['level']}")

    def _registered(self, node: Life, fields: dict[str, Any]) -> None:
        program = (node.number, node.life, fields["program"])
        if fields["state"] == "registered":  # it was not there when what stands in for it has left
            self._left.discard(program)
        elif self._registrations.has_ended(node, fields) and fields["program"] not in _LEVELS:
            self._left.add(program)  # what stands in for one of a built-in level goes on
