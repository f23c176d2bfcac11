"""Claim: the membership's history is one chain (S2.6, S3.3).

No two commits of one (epoch, step) differ; none lands that a later one does not know of; and whatever view a node takes
in is one that was committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.sim.checkers import Checker

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.sim.nodes import Node


class History(Checker):
    """Every view that ever landed, by (epoch, step)."""

    claim = "the history of the membership is one chain (S2.6, S3.3)"

    def __init__(self) -> None:
        self.views: dict[tuple[int, int], View] = {}
        self.newest: tuple[int, int] = (0, 0)

    def emitted(self, node: Node, kind: str, fields: dict[str, Any]) -> None:
        """What a node takes in."""
        if kind != "membership":
            return
        order = (fields["epoch"], fields["step"])
        view = self.views.get(order)
        if view is None:
            self.fail(f"node {node.number} took in {order}, which nobody has committed")
        if (view.master, view.described()) != (fields["master"], fields["nodes"]):
            self.fail(f"node {node.number} took in {order} as {fields}, and it was committed as {view}")

    def committed(self, node: Node, life: int, view: View) -> None:
        """Every commit."""
        if self.views.setdefault(view.order, view) != view:
            self.fail(f"{view.order} was committed twice: {self.views[view.order]} and {view}")
        if view.order < self.newest:
            self.fail(f"{view.order} of node {node.number} (life {life}) landed after {self.newest}")
        self.newest = view.order
