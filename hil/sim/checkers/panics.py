"""Claim: nobody panics without a reason, and nobody is refused (S6.1, S6.4).

A node that finds itself forced out has lost its registration to another one before; one that was ordered to has been; a
node whose subsystem does not answer has a program that hangs (S4.13); and there are no two machines with one node id in
a simulation, so nothing may be taken for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hil.sim.checkers import Checker

if TYPE_CHECKING:
    from hil.sim.disk import Removal
    from hil.sim.nodes import Node

_BY_OTHERS: Final = ("forced-out", "reservation-conflict", "key-gone")


class Panics(Checker):
    """Whose registrations were removed by whom."""

    claim = "nobody panics without a reason (S6.1)"

    def __init__(self) -> None:
        self._removed: set[tuple[int, int]] = set()

    def removed(self, removal: Removal) -> None:
        """By another node only."""
        if removal.by != removal.node:
            self._removed.add((removal.node, removal.incarnation))

    def emitted(self, node: Node, kind: str, fields: dict[str, Any]) -> None:
        """Panics and refusals."""
        if kind == "refused":
            self.fail(f"node {node.number} was refused: {fields['reason']}")
        if kind != "panic" or fields["cause"] == "ordered":
            return
        if fields["cause"] == "subsystem-hung" and self.world.programs.hang_on(node.number):
            return
        legal = fields["cause"] in _BY_OTHERS and (node.number, node.incarnation) in self._removed
        if not legal:
            self.fail(f"node {node.number} ({node.incarnation}) panicked, and nobody has fenced it: {fields['reason']}")
