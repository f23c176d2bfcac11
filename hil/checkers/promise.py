"""Claim: the ballot of a node never goes back, and no two of its writes differ under one number (S3.2, election.md).

Disk Paxos rests on it: what a node has promised or chosen in an epoch it must never forget, in no life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.records import Ballot
    from hil.checkers.observation import Life


class Promise(Checker):
    """The newest ballot of each node on the disk."""

    claim = "a ballot is never forgotten (S3.2)"
    needs = (Observation.CONTENTS,)

    def __init__(self) -> None:
        self._newest: dict[int, Ballot] = {}

    def voted(self, node: Life, life: int, ballot: Ballot) -> None:
        """Every ballot."""
        before = self._newest.get(node.number)
        if before is not None and (ballot.epoch, ballot.mbal, ballot.bal) < (before.epoch, before.mbal, before.bal):
            self.fail(f"node {node.number} (life {life}) wrote {ballot} after {before}")
        self._newest[node.number] = ballot
