"""Claim: a transition moves on only when all who take part have acknowledged where it stands (S4.5).

Asked of every commit: what it moves on from the one before must have been acknowledged, by their own word, by all lives
that the view before has at that level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestd.membership.position import position_of
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.checkers.observation import Life


class Steps(Checker):
    """The newest view on the disk."""

    claim = "no level and no barrier before all have acknowledged the one before (S4.5)"
    needs = (Observation.CONTENTS, Observation.ACKNOWLEDGED)

    def __init__(self) -> None:
        self._view: View | None = None

    def committed(self, node: Life, life: int, view: View) -> None:
        """Every commit."""
        before, self._view = self._view, view
        if before is None or view.order != (before.epoch, before.step + 1):
            return
        for subject, entry in enumerate(before.entries):
            position = position_of(subject, entry)
            if position is None or view.entries[subject] == entry:
                continue
            for live in before.live():
                if not before.entries[live].takes_part(position.level):
                    continue
                # What an earlier life has acknowledged is not known any more.
                known = self.bench.acknowledged(live, before.entries[live].incarnation)
                if known is not None and position not in known:
                    self.fail(f"{view.order} goes on from {position}, which node {live} has not acknowledged")
