"""Claim: a life that was forced out never comes back (S6.1).

No commit has it as a member again, it does not say joined of
an epoch that knows better, and in the end it has panicked or is off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.sim.checkers import Checker

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.sim.nodes import Node


class ForcedOut(Checker):
    """Lives by the first epoch that forces them out."""

    claim = "a life that was forced out never comes back (S6.1)"

    def __init__(self) -> None:
        self._epochs: dict[tuple[int, int], int] = {}

    def committed(self, node: Node, life: int, view: View) -> None:
        """Every commit."""
        for subject, entry in enumerate(view.entries):
            key = (subject, entry.incarnation)
            if entry.forced:
                self._epochs.setdefault(key, view.epoch)
            elif entry.state.live and key in self._epochs:
                self.fail(f"node {subject} ({entry.incarnation}) was out in epoch {self._epochs[key]} and is in {view}")

    def emitted(self, node: Node, kind: str, fields: dict[str, Any]) -> None:
        """Who says that it is joined."""
        if kind != "state" or fields["state"] != "joined" or node.stack is None:
            return
        epoch = self._epochs.get((node.number, node.incarnation))
        if epoch is not None and node.stack.member.view.epoch >= epoch:
            self.fail(f"node {node.number} ({node.incarnation}) was forced out in epoch {epoch} and says it joined")

    def finished(self) -> None:
        """Nobody runs on who is out."""
        for node in self.world.nodes:
            if node.stack is not None and (node.number, node.incarnation) in self._epochs:
                self.fail(f"node {node.number} ({node.incarnation}) was forced out and still runs")
