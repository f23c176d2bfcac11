"""Claim: what a node has chosen in a ballot it never takes back (S3.2, election.md).

Within an epoch the ballot in which it has chosen (bal) only grows, in all its lives; under one number it has chosen one
value; and it chooses in no ballot that it has not begun. With less, two nodes could have different owners decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.records import Ballot
    from hil.checkers.observation import Life


class Choices(Checker):
    """The newest ballot of each node, and what was chosen in an epoch under each number."""

    claim = "what was chosen in a ballot is never taken back (S3.2)"
    needs = (Observation.DISK, Observation.CONTENTS)

    def __init__(self) -> None:
        self._newest: dict[int, Ballot] = {}
        self._chosen: dict[tuple[int, int], tuple[int, int]] = {}  # (epoch, bal) -> value

    def voted(self, node: Life, life: int, ballot: Ballot) -> None:
        """Every ballot."""
        before = self._newest.get(node.number)
        self._newest[node.number] = ballot
        if ballot.bal > ballot.mbal:
            self.fail(f"node {node.number} (life {life}) has chosen in a ballot that it has not begun: {ballot}")
        if before is not None and ballot.epoch == before.epoch and ballot.bal < before.bal:
            self.fail(f"node {node.number} (life {life}) wrote {ballot} after {before}")
        if ballot.bal:
            value = (ballot.owner, ballot.owner_incarnation)
            first = self._chosen.setdefault((ballot.epoch, ballot.bal), value)
            if first != value:
                self.fail(f"node {node.number} (life {life}) wrote {ballot}, and had chosen {first} under that number")
