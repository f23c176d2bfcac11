"""Claim: nobody is told of a step while another node has not acknowledged the one before (S4.5), by their own words.

What two nodes did cannot be compared by the time, but by the views that they had taken in: a step is told with the view
that makes it; who has that view, or a later one, and then acknowledges an earlier step, was not waited for.

A node that leaves is not waited for any more at the levels that its own leave has passed; nor is a program that has
ended. Late joins are an affair of each node (S4.12). A forced leave may begin anew with an epoch, in a cluster that is
formed anew: each epoch's steps are looked at by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from guestd.core.node import built_in_levels
from hil.checkers.checker import Checker

if TYPE_CHECKING:
    from hil.checkers.observation import Life

_LEAVES: Final = {level.order: level.barriers_of("leave") for level in built_in_levels()}

Order = tuple[int, int]  # of a view: epoch, step
Step = tuple[int, int]  # level, barrier
Transition = tuple[int, int, str, int]  # subject, incarnation, type, epoch of a forced leave


def transition_of(fields: dict[str, Any], order: Order) -> Transition:
    """Which transition an event is about that a node tells while it has the view ``order``."""
    epoch = order[0] if fields["transition"] == "forced-leave" else 0
    return fields["subject"], fields["incarnation"], fields["transition"], epoch


def is_after(step: Step, other: Step, transition: str) -> bool:
    """Whether ``step`` comes later in that type of transition than ``other``."""
    if step[0] == other[0]:
        return step[1] > other[1]
    return (step[0] < other[0]) if transition == "leave" else (step[0] > other[0])


class Barriers(Checker):
    """By transition: when each step was told first, and when it was acknowledged last, as views."""

    claim = "nobody is told of a step before all have acknowledged the one before (S4.5)"
    kinds = ("membership", "program", "notified", "acknowledged")

    def __init__(self) -> None:
        self._views: dict[tuple[int, int], Order] = {}  # (node, life) -> the view that it has
        self._told: dict[Transition, dict[Step, tuple[Order, int]]] = {}  # the first view, and who
        self._done: dict[Transition, dict[Step, tuple[Order, int]]] = {}  # the last view, and who
        self._open: dict[tuple[int, int], dict[tuple[Transition, str], Step]] = {}  # (node, life) -> ... by subsystem

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """What subsystems are told, and acknowledge."""
        life = (node.number, node.life)
        if kind == "membership":
            self._views[life] = (fields["epoch"], fields["step"])
            for (transition, _), step in self._open.get(life, {}).items():
                self._acknowledged(node, transition, step)
        elif kind == "program" and fields["state"] == "ended":
            self._forget(life, lambda subsystem, _: subsystem == fields["program"])
        elif kind in ("notified", "acknowledged") and not fields.get("late"):
            self._step(node, kind, fields)

    def _step(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        life = (node.number, node.life)
        transition = transition_of(fields, self._views.get(life, (0, 0)))
        step = (fields["level"], fields["barrier"])
        waiting = self._open.setdefault(life, {})
        if kind == "acknowledged":
            if waiting.pop((transition, fields["subsystem"]), None) == step:
                self._acknowledged(node, transition, step)
            own = (fields["subject"], fields["transition"]) == (node.number, "leave")
            if own and step[1] + 1 == _LEAVES.get(step[0]):  # it is awaited no more, whatever it was told (S4.9)
                self._forget(life, lambda _, level: level >= step[0])
            return
        if (fields["subject"], fields["transition"]) == (node.number, "leave"):
            self._forget(life, lambda _, level: level >= step[0])
        waiting[transition, fields["subsystem"]] = step
        told = self._told.setdefault(transition, {})
        view = self._views.get(life, (0, 0))
        first, _ = told.get(step, (view, 0))
        if view <= first:
            told[step] = (view, node.number)
            for before, (last, who) in self._done.get(transition, {}).items():
                if last >= view and is_after(step, before, transition[2]):
                    self._found(transition, step, node.number, before, who)

    def _acknowledged(self, node: Life, transition: Transition, step: Step) -> None:
        """Now, or not yet: with the view that it has."""
        view = self._views.get((node.number, node.life), (0, 0))
        done = self._done.setdefault(transition, {})
        if view >= done.get(step, (view, 0))[0]:
            done[step] = (view, node.number)
        for later, (first, who) in self._told.get(transition, {}).items():
            if first <= view and is_after(later, step, transition[2]):
                self._found(transition, later, who, step, node.number)

    def _found(self, transition: Transition, step: Step, told: int, before: Step, late: int) -> None:
        subject, incarnation, name, _ = transition
        self.fail(
            f"{name} of node {subject} (incarnation {incarnation}): node {told} was told of level {step[0]}, barrier"
            f" {step[1]}, and node {late} had not acknowledged level {before[0]}, barrier {before[1]}"
        )

    def _forget(self, life: tuple[int, int], which: Any) -> None:
        waiting = self._open.get(life, {})
        for key in [key for key, step in waiting.items() if which(key[1], step[0])]:
            del waiting[key]
