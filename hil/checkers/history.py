"""Claim: the membership's history is one chain (S2.6, S3.3).

No two commits of one (epoch, step) differ; none lands that a later one does not know of; whatever view a node takes in
is one that was committed, the same to all who take it in, and newer than the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.checkers.observation import Life


class History(Checker):
    """Every view that ever landed, by (epoch, step)."""

    claim = "the history of the membership is one chain (S2.6, S3.3)"
    kinds = ("membership",)
    also = (Observation.CONTENTS,)

    def __init__(self) -> None:
        self.views: dict[tuple[int, int], View] = {}
        self.newest: tuple[int, int] = (0, 0)
        self._taken: dict[tuple[int, int], tuple[int, int, dict[str, Any]]] = {}  # order -> (who, master, nodes)
        self._last: dict[tuple[int, int], tuple[int, int]] = {}  # (node, life) -> order

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """What a node takes in."""
        order = (fields["epoch"], fields["step"])
        told = (fields["master"], fields["nodes"])
        who, *first = self._taken.setdefault(order, (node.number, *told))
        if tuple(first) != told:
            self.fail(f"node {node.number} took in {order} as {told}, and node {who} as {tuple(first)}")
        life = (node.number, node.life)
        if order <= self._last.get(life, (0, -1)):
            self.fail(f"node {node.number} took in {order} after {self._last[life]}")
        self._last[life] = order
        if self.sees(Observation.CONTENTS):
            self._compare(node, order, told)

    def _compare(self, node: Life, order: tuple[int, int], told: tuple[int, dict[str, Any]]) -> None:
        view = self.views.get(order)
        if view is None:
            self.fail(f"node {node.number} took in {order}, which nobody has committed")
        if (view.master, view.described()) != told:
            self.fail(f"node {node.number} took in {order} as {told}, and it was committed as {view}")

    def committed(self, node: Life, life: int, view: View) -> None:
        """Every commit."""
        if self.views.setdefault(view.order, view) != view:
            self.fail(f"{view.order} was committed twice: {self.views[view.order]} and {view}")
        if view.order < self.newest:
            self.fail(f"{view.order} of node {node.number} (life {life}) landed after {self.newest}")
        self.newest = view.order
