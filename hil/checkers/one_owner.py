"""Claim: an epoch has one owner (S3.2): nobody else says that it was elected, commits in it, or is taken
for its master.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.checkers.observation import Life


class OneOwner(Checker):
    """Owners by epoch."""

    claim = "an epoch has one owner (S3.2)"
    kinds = ("elected", "membership")
    also = (Observation.CONTENTS,)

    def __init__(self) -> None:
        self.owners: dict[int, tuple[int, int]] = {}  # epoch -> (node, incarnation)

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Who says that it was elected, and whom others take for the master."""
        if kind == "elected":
            self._own(fields["epoch"], (node.number, node.incarnation))
        elif kind == "membership":
            master = fields["master"]
            self._own(fields["epoch"], (master, fields["nodes"][str(master)]["incarnation"]))

    def committed(self, node: Life, life: int, view: View) -> None:
        """Whose commit reaches the disk."""
        self._own(view.epoch, (node.number, view.entries[node.number].incarnation))

    def _own(self, epoch: int, owner: tuple[int, int]) -> None:
        before = self.owners.setdefault(epoch, owner)
        if before != owner:
            self.fail(f"epoch {epoch} is node {before[0]}'s ({before[1]}), and node {owner[0]}'s ({owner[1]}) too")
