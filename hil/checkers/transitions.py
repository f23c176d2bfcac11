"""Claim: each built-in level sees each step of each transition once and in order (S4.4 to S4.6).

Joins and forced leaves go up, leaves go down; no level is left out between two that were told, but at a node whose own
join is still under way: a level that it has not come to is told nothing (S4.5); or a level that has acknowledged its
own node's leave, which is told nothing any more (S4.9). A level that was told of a barrier is told of the next one only
when it has acknowledged that.

A program may take the place of a level that only acknowledges, under its name (docs/programs.md): then that one tells
of what the program is told. Late joins are an affair of each node (S4.12); a program that has ended is told nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from guestd.core.node import built_in_levels
from hil.checkers.checker import Checker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.checkers.observation import Life

_NAMES: Final = {level.name: level.order for level in built_in_levels()}
_ORDERS: Final = sorted(_NAMES.values())
_LEVELS: Final = {level.order: level for level in built_in_levels()}


class Transitions(Checker):
    """Where each transition stands at each node's built-in subsystems."""

    claim = "each level sees each transition once, in order (S4.4)"
    kinds = ("state", "program", "notified", "acknowledged")

    def __init__(self) -> None:
        self._at: dict[tuple[object, ...], tuple[int, int]] = {}  # (node, life, subject, ...) -> (level, barrier)
        self._open: dict[tuple[object, ...], tuple[int, int]] = {}
        self._newcomers: set[tuple[object, ...]] = set()  # those that began while the node was joining itself
        self._left: set[tuple[int, int, int]] = set()  # (node, life, level): has acknowledged its own leave
        self._states: dict[tuple[int, int], str] = {}  # (node, life) -> its own state

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """What a subsystem is told, and what it acknowledges."""
        if kind == "state":
            self._states[node.number, node.life] = fields["state"]
        if kind == "program" and fields["state"] == "ended" and fields["why"] != "left":  # its last word comes yet
            self._forget(node, fields["program"])
        if kind not in ("notified", "acknowledged") or fields["subsystem"] not in _NAMES or fields.get("late"):
            return
        subject = (node.number, node.life, fields["subject"], fields["incarnation"])
        key = (*subject, fields["transition"])
        step = (fields["level"], fields["barrier"])
        place = (*key, fields["subsystem"])
        if kind == "acknowledged":
            if self._open.pop(place, None) != step:
                self.fail(f"node {node.number} acknowledged {fields}, of which it was not told")
            last = fields["barrier"] + 1 == _LEVELS[fields["level"]].barriers_of(fields["transition"])
            if last and (fields["subject"], fields["transition"]) == (node.number, "leave"):
                self._left.add((node.number, node.life, fields["level"]))
            return
        before = self._at.get(key)
        joining = fields["subject"] != node.number and self._states.get((node.number, node.life)) == "joining"
        if before is None and joining:
            self._newcomers.add(key)
        gaps = key in self._newcomers
        left = [order for number, life, order in self._left if (number, life) == (node.number, node.life)]
        if before is not None and not _follows(before, step, fields["transition"], left, gaps=gaps):
            self.fail(f"node {node.number} was told {fields} after level {before[0]}, barrier {before[1]}")
        if place in self._open:
            self.fail(f"node {node.number} was told {fields} before it had acknowledged {self._open[place]}")
        self._at[key] = step
        self._open[place] = step

    def _forget(self, node: Life, program: str) -> None:
        """What it had not acknowledged counts as acknowledged."""
        life = (node.number, node.life)
        for place in [place for place in self._open if place[:2] == life and place[-1] == program]:
            del self._open[place]


def _follows(
    before: tuple[int, int], step: tuple[int, int], transition: str, left: Sequence[int], *, gaps: bool
) -> bool:
    """The next barrier of the same level, or after the last the next level; gaps: or a further one.

    left: levels of that node that are told nothing any more.
    """
    if step[0] == before[0]:
        return step[1] == before[1] + 1
    if before[1] + 1 != _LEVELS[before[0]].barriers_of(transition) and before[0] not in left:
        return False
    down = transition == "leave"
    if gaps:
        return (step[0] < before[0]) is down
    low, high = sorted((before[0], step[0]))
    between = [order for order in _ORDERS if low < order < high and order not in left]
    return step[1] == 0 and (step[0] < before[0]) is down and not between
