"""Claim: no transition moves on from what a program is still at work on, whatever its node says (S4.5).

Neither to the next barrier or level, nor, as a join does between two levels, into a leave (S4.8). A node that leaves is
not waited for at the levels that its own leave has passed, nor its program, once it has acknowledged that (S4.9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from guestd.membership.position import position_of
from guestd.membership.states import NodeState
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.position import Position
    from guestd.membership.view import View
    from hil.checkers.checker import Bench
    from hil.checkers.observation import Life
    from hil.sim.world import World


class WorkedOn(Checker):
    """The newest view on the disk."""

    claim = "nothing moves on from what a program is at work on (S4.5, S4.8)"
    needs = (Observation.INSIDE,)

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)

    def __init__(self) -> None:
        self._view: View | None = None

    def committed(self, node: Life, life: int, view: View) -> None:
        """Every commit."""
        before, self._view = self._view, view
        if before is None or view.order <= before.order:
            return
        for subject in before.in_transition():
            position = position_of(subject, before.entries[subject])
            entry = view.entries[subject]
            if (
                position is None
                or entry == before.entries[subject]
                or entry.forced is not before.entries[subject].forced
            ):
                continue  # a forced leave interrupts whatever is under way
            if view.step == 0 and entry.state is NodeState.FORCED_LEAVING:
                continue  # and begins again in a cluster that is formed anew
            self._check(before, position, view)

    def _check(self, before: View, position: Position, view: View) -> None:
        told = (position.subject, position.incarnation, position.transition, position.barrier)
        for program in self.world.programs.all:
            if program.order != position.level or told not in program.unacknowledged:
                continue
            if not program.runs or program.deregistered:
                continue
            node = program.node
            if not before.entries[node.number].takes_part(program.order):
                continue
            # One that is forced out by this very commit is fenced, and asked no more.
            if all(one.entries[node.number].is_life(node.incarnation) for one in (before, view)):
                self.fail(f"{view.order} goes on from {told}, which {program.name} on node {node.number} is at work on")
