"""Claim: no write of a life lands after its fence was verified, or after the commit that forces it out (S6.2), or after
the next life of its node has registered (S6.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.sim.checkers import Checker

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.sim.nodes import Node


class Fence(Checker):
    """Lives that are out, and why."""

    claim = "a life that is over writes nothing any more (S6.2, S6.3)"

    def __init__(self) -> None:
        self.out: dict[tuple[int, int], str] = {}  # (node, incarnation)
        self._incarnations: dict[tuple[int, int], int] = {}  # (node, life of its machine)

    def emitted(self, node: Node, kind: str, fields: dict[str, Any]) -> None:
        """Whose fence is verified."""
        if kind == "registered":
            earlier = self._incarnations.get((node.number, node.life))
            self._incarnations[node.number, node.life] = node.incarnation
            for (number, life), incarnation in self._incarnations.items():
                if number == node.number and life < node.life and incarnation not in (earlier, node.incarnation):
                    why = f"incarnation {node.incarnation} had registered"
                    self.out.setdefault((number, incarnation), why)
        elif kind == "fenced":
            victim = (fields["subject"], fields["incarnation"])
            self.out.setdefault(victim, f"node {node.number} had verified its fence")

    def landed(self, node: Node, life: int, lba: int, data: bytes) -> None:
        """Who writes."""
        incarnation = self._incarnations.get((node.number, life), 0)
        why = self.out.get((node.number, incarnation))
        if why is not None:
            self.fail(f"LBA {lba} was written by node {node.number} (incarnation {incarnation}) after {why}")

    def committed(self, node: Node, life: int, view: View) -> None:
        """Whom it forces out."""
        for subject, entry in enumerate(view.entries):
            if entry.forced:
                why = f"the commit of epoch {view.epoch} that forces it out"
                self.out.setdefault((subject, entry.incarnation), why)
