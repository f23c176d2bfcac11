"""Claim: in mode ``dekker`` the match record of a node never goes back (S3.2, election.md).

No epoch before the last one it contended in; within an epoch a life raises flags and lowers none, and its turn bits
survive its end: a new life begins with those of the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.records import Match
    from hil.checkers.observation import Life


class Flags(Checker):
    """The newest match of each node on the disk."""

    claim = "a flag that is up stays up, and turn bits are never forgotten (S3.2)"
    needs = (Observation.DISK, Observation.CONTENTS)

    def __init__(self) -> None:
        self._newest: dict[int, Match] = {}

    def contended(self, node: Life, life: int, match: Match) -> None:
        """Every match."""
        before = self._newest.get(node.number)
        self._newest[node.number] = match
        if before is None or match == before:
            return
        forgotten = match.epoch < before.epoch or match.sequence <= before.sequence
        if match.epoch == before.epoch:
            if match.incarnation == before.incarnation:
                forgotten = forgotten or bool(before.flags & ~match.flags)
            else:
                forgotten = forgotten or match.incarnation < before.incarnation or match.bits != before.bits
        if forgotten:
            self.fail(f"node {node.number} (life {life}) wrote {match} after {before}")
