"""Claim: for each transition of each node the levels come in order, on all nodes (spec S4.4, S4.6).

Join and forced leave go bottom-up, graceful leave top-down. Three orders can be trusted in a stream of events: that of
one node's own line; the levels that the master completed; and that of the views: whoever is told of a step has just
taken in a view, and views have one order. What two different nodes did cannot be compared by its place in the stream:
the bench reads their lines independently.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hil.checkers.barriers import Order, Step, Transition, is_after, transition_of
from hil.checkers.checker import Checker
from hil.errors import ClaimFailed

if TYPE_CHECKING:
    from hil.checkers.observation import Life
    from hil.view import Event

_Key = tuple[str, "int | None", int, int, int, str]

TOP_DOWN = "leave"
"""The transition type whose levels descend; those of the others ascend."""


class LevelOrder(Checker):
    """Where each transition stands in which view, as nodes are told of it."""

    claim = "lower levels before higher ones, in a leave after them, on all nodes (S4.4)"
    kinds = ("membership", "notified")

    def __init__(self) -> None:
        self._views: dict[tuple[int, int], Order] = {}  # (node, life) -> the view that it has
        self._stands: dict[Transition, list[tuple[Order, Step, int]]] = {}  # sorted

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Which step is told with which view."""
        if kind == "membership":
            self._views[node.number, node.life] = (fields["epoch"], fields["step"])
        elif kind == "notified" and not fields.get("late"):
            view = self._views.get((node.number, node.life), (0, 0))
            self._stand(node.number, view, transition_of(fields, view), (fields["level"], fields["barrier"]))

    def _stand(self, node: int, view: Order, transition: Transition, step: Step) -> None:
        stands = self._stands.setdefault(transition, [])
        place = bisect_left(stands, (view,))
        around = stands[max(0, place - 1) : place + 1]
        for other_view, other, who in around:
            first, second = (other, step) if other_view < view else (step, other)
            if first != second and (other_view == view or not is_after(second, first, transition[2])):
                subject, incarnation, name, _ = transition
                self.fail(
                    f"{name} of node {subject} (incarnation {incarnation}): node {node} was told of level {step[0]},"
                    f" barrier {step[1]} in view {view}, and node {who} of level {other[0]}, barrier {other[1]} in"
                    f" view {other_view}"
                )
        if not any(other_view == view for other_view, _, _ in around):
            stands.insert(place, (view, step, node))


def completed_levels(events: Iterable[Event], subject: int, transition: str) -> list[int]:
    """The levels that a master completed of ``subject``'s ``transition``, in order, each once in a row."""
    levels: list[int] = []
    for event in events:
        if event["kind"] != "level-complete" or event["subject"] != subject or event["transition"] != transition:
            continue
        if levels[-1:] != [event["level"]]:  # a new master may complete anew what it took over
            levels.append(event["level"])
    return levels


def violations(events: Iterable[Event]) -> list[str]:
    """One sentence per level out of order; empty if the claim holds."""
    sequences: dict[_Key, list[int]] = {}
    lives: dict[int | None, int] = {}
    for event in events:
        node = event.get("node")
        if event["kind"] == "guestd-started":  # in a cluster formed anew a forced leave may begin anew
            lives[node] = lives.get(node, 0) + 1
        # Late joins come when a subsystem registers, whatever the higher levels have processed by then (spec S4.12).
        if event["kind"] in {"notified", "level-complete"} and not event.get("late"):
            life = lives.get(node, 0)
            key = (event["kind"], node, life, event["subject"], event["incarnation"], event["transition"])
            sequences.setdefault(key, []).append(event["level"])
    return [sentence for key, levels in sequences.items() for sentence in _out_of_order(key, levels)]


def _out_of_order(key: _Key, levels: list[int]) -> Iterator[str]:
    kind, node, _, subject, incarnation, transition = key
    for before, after in pairwise(levels):
        if (after > before) if transition == TOP_DOWN else (after < before):
            yield (
                f"{transition} of node {subject} (incarnation {incarnation}): on node {node} {kind} at level {after}"
                f" after level {before}"
            )


def check(events: Iterable[Event]) -> None:
    """Raise :class:`ClaimFailed` naming every violation, if there is one."""
    if found := violations(events):
        raise ClaimFailed("; ".join(found))
