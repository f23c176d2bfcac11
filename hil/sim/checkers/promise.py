"""Claim: the ballot of a node never goes back, and no two of its writes differ under one number (S3.2, election.md).

Disk Paxos rests on it: what a node has promised or chosen in an epoch it must never forget, in no life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestd.membership.records import Ballot
from hil.sim.checkers import Checker
from hil.sim.checkers.commits import is_heartbeat, record_of

if TYPE_CHECKING:
    from hil.sim.nodes import Node


class Promise(Checker):
    """The newest ballot of each node on the disk."""

    claim = "a ballot is never forgotten (S3.2)"

    def __init__(self) -> None:
        self._newest: dict[int, Ballot] = {}

    def landed(self, node: Node, life: int, lba: int, data: bytes) -> None:
        """Every ballot."""
        if is_heartbeat(lba):
            return
        record = record_of(self.world.config.cluster_id, self.world.config.nodes, lba, data)
        if not isinstance(record, Ballot):
            return
        before = self._newest.get(node.number)
        if before is not None and (record.epoch, record.mbal, record.bal) < (before.epoch, before.mbal, before.bal):
            self.fail(f"node {node.number} (life {life}) wrote {record} after {before}")
        self._newest[node.number] = record
