"""Claim: a node whose write the disk refuses panics at once: it does not even finish what it was about to do (S6.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.sim.checkers import Checker

if TYPE_CHECKING:
    from hil.sim.nodes import Node


class Refused(Checker):
    """By what a node does with the answer of the disk."""

    claim = "a node that gets a reservation conflict panics (S6.4)"

    def unmoved(self, node: Node) -> None:
        """It has heard of it, and runs on."""
        self.fail(f"node {node.number} ({node.incarnation}) got a reservation conflict for a write, and runs on")
