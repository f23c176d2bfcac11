"""Claim: an epoch has one owner (S3.2): nobody else says that it was elected, commits in it, or is taken
for its master.

In mode ``dekker`` an owner whose life was ended by a fence, or by the next life of its node, before anything of it was
committed has a successor: of an epoch there may be two that were elected, but never two that commit (election.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.view import View
    from hil.checkers.observation import Life


class OneOwner(Checker):
    """Owners by epoch, and lives that are over."""

    claim = "an epoch has one owner (S3.2)"
    kinds = ("elected", "membership", "fenced", "registered")
    also = (Observation.CONTENTS,)

    def __init__(self, *, election: str = "paxos") -> None:
        """``election``: the mode, of the cluster file."""
        self._election = election
        self.owners: dict[int, tuple[int, int]] = {}  # epoch -> (node, incarnation)
        self._committed: set[int] = set()
        self._fenced: set[tuple[int, int]] = set()  # (node, incarnation)
        self._newest: dict[int, int] = {}  # node -> incarnation that has registered, which ends those before

    def emitted(self, node: Life, kind: str, fields: dict[str, Any]) -> None:
        """Who says that it was elected, whom others take for the master, and which lives are over."""
        if kind == "elected":
            if self._over((node.number, node.incarnation)) and self._election == "dekker":
                return  # it has looked before its fence, and says so after: it commits nothing any more
            self._own(fields["epoch"], (node.number, node.incarnation))
        elif kind == "membership":
            master = fields["master"]
            self._own(fields["epoch"], (master, fields["nodes"][str(master)]["incarnation"]))
            self._committed.add(fields["epoch"])
        elif kind == "fenced":
            self._fenced.add((fields["subject"], fields["incarnation"]))
        elif kind == "registered":
            self._newest[node.number] = node.incarnation

    def committed(self, node: Life, life: int, view: View) -> None:
        """Whose commit reaches the disk."""
        self._own(view.epoch, (node.number, view.entries[node.number].incarnation))
        self._committed.add(view.epoch)

    def _own(self, epoch: int, owner: tuple[int, int]) -> None:
        before = self.owners.get(epoch, owner)
        if before != owner and not self._may_be_replaced(epoch, before):
            self.fail(f"epoch {epoch} is node {before[0]}'s ({before[1]}), and node {owner[0]}'s ({owner[1]}) too")
        self.owners[epoch] = owner

    def _may_be_replaced(self, epoch: int, owner: tuple[int, int]) -> bool:
        """Mode ``dekker``: an owner that is over before it has committed anything gets a successor (election.md)."""
        return self._election == "dekker" and epoch not in self._committed and self._over(owner)

    def _over(self, life: tuple[int, int]) -> bool:
        return life in self._fenced or life[1] < self._newest.get(life[0], 0)
