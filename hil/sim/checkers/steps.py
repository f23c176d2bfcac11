"""Claim: a transition moves on only when all who take part have acknowledged where it stands (S4.5).

Asked of every commit: what it moves on from the one before must have been acknowledged, by their own word, by all lives
that the view before has at that level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestd.membership.position import position_of
from hil.sim.checkers import Checker

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.sim.nodes import Node


class Steps(Checker):
    """The newest view on the disk."""

    claim = "no level and no barrier before all have acknowledged the one before (S4.5)"

    def __init__(self) -> None:
        self._view: View | None = None

    def committed(self, node: Node, life: int, view: View) -> None:
        """Every commit."""
        before, self._view = self._view, view
        if before is None or view.order != (before.epoch, before.step + 1):
            return
        for subject, entry in enumerate(before.entries):
            position = position_of(subject, entry)
            if position is None or view.entries[subject] == entry:
                continue
            for live in before.live():
                took_part = before.entries[live].takes_part(position.level)
                stack = self.world.nodes[live].stack
                # What an earlier life has acknowledged is not known any more.
                known = stack is not None and stack.member.incarnation == before.entries[live].incarnation
                if (
                    took_part
                    and known
                    and stack is not None
                    and position not in stack.member.participant.acknowledged()
                ):
                    self.fail(f"{view.order} goes on from {position}, which node {live} has not acknowledged")
