"""Claim: who is forced out has been fenced before (S6.2).

Whoever begins an epoch that forces somebody out has verified the fence of each of them since its bid; and their keys
are gone when the others learn that they are out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.checkers.observation import Life, Removal


class FenceFirst(Checker):
    """Who is registered, and whose fence was verified."""

    claim = "nobody is forced out who is not fenced (S6.2)"
    kinds = ("bid", "fenced", "elected", "membership")
    also = (Observation.DISK, Observation.CONTENTS)

    def __init__(self) -> None:
        self._keys: dict[int, int] = {}  # node -> incarnation; one nexus has one key
        self._verified: dict[tuple[int, int], set[int]] = {}  # (node, life) -> victims, since its bid

    def keyed(self, node: int, incarnation: int) -> None:
        """In place of the key of the life before."""
        self._keys[node] = incarnation

    def removed(self, removal: Removal) -> None:
        """By whomever."""
        if self._keys.get(removal.node) == removal.incarnation:
            del self._keys[removal.node]

    def committed(self, node: Life, life: int, view: View) -> None:
        """What is on the disk."""
        for subject, entry in enumerate(view.entries):
            if entry.forced and entry.moves:
                self._check(subject, entry.incarnation, view.order)

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Who is fenced, whom an epoch is to force out, and, where what is committed cannot be read, whom it does."""
        verified = self._verified.setdefault((node.number, node.life), set())
        if kind == "bid":
            verified.clear()
        elif kind == "fenced":
            verified.add(fields["subject"])
        elif kind == "elected":
            for victim in fields["victims"]:
                if victim not in verified:
                    epoch = fields["epoch"]
                    self.fail(f"node {node.number} begins epoch {epoch} without node {victim}, which it has not fenced")
        elif not self.sees(Observation.CONTENTS):
            for subject, entry in fields["nodes"].items():
                if entry["state"] == "forced-leaving":
                    self._check(int(subject), entry["incarnation"], (fields["epoch"], fields["step"]))

    def _check(self, subject: int, incarnation: int, order: tuple[int, int]) -> None:
        if self._keys.get(subject) == incarnation:
            self.fail(
                f"view {order[0]}.{order[1]} forces node {subject} (incarnation {incarnation}) out,"
                " and its key is on the disk"
            )
