"""Claim: a node whose write the disk refuses panics at once: it does not even finish what it was about to do (S6.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from hil.checkers.observation import Life


class Refused(Checker):
    """By what a node does with the answer of the disk."""

    claim = "a node that gets a reservation conflict panics (S6.4)"
    needs = (Observation.INSIDE,)

    def unmoved(self, node: Life) -> None:
        """It has heard of it, and runs on."""
        self.fail(f"node {node.number} ({node.incarnation}) got a reservation conflict for a write, and runs on")
