"""Claim: every boot of a node is a new incarnation (S2.6): no number comes twice, whatever became of its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.checkers.checker import Checker

if TYPE_CHECKING:
    from hil.checkers.observation import Life


class Incarnations(Checker):
    """The newest number of each node."""

    claim = "every boot is a new incarnation (S2.6)"
    kinds = ("incarnation",)

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Which one it has become."""
        before = self._newest.get(node.number, 0)
        if fields["incarnation"] <= before:
            self.fail(f"node {node.number} is incarnation {fields['incarnation']} after {before}")
        self._newest[node.number] = fields["incarnation"]
