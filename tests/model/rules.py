"""What a model is of: the rules of the protocol, each of which can be left out, and the bounds of the search."""

from __future__ import annotations

from typing import NamedTuple


class Rules(NamedTuple):
    """The protocol of docs/election.md. A test leaves one rule out and expects a counter-example."""

    boot: tuple[str, ...] = ("abort", "register", "read")  # the steps of a new life, in their order
    nexus_per_life: bool = False  # a new life is a new I_T nexus to the disk, and the old registration stays beside it
    reservation: int = 5  # write exclusive, registrants only; 7: all registrants; 0: the disk has none
    records: str = "kept"  # what becomes of the old life's contest record: kept, forgotten, erased or repaired
    rejoin: bool = True  # a bid is never for an epoch before one that a block was seen of
    contest: bool = True  # who wants an epoch bids for it
    second_read: bool = True  # phase 2 of a ballot ends with a read
    force_owner: bool = True  # who goes past an epoch decided for another forces that owner out
    reread: bool = True  # and reads once more behind the fence what it may have committed before
    fence: str = "PREEMPT AND ABORT"  # or PREEMPT, or none
    fence_first: bool = True  # before the commit record
    fence_all: bool = False  # every key of the node that is forced out, not only its life in the membership
    verified: bool = True  # by READ KEYS


class Bounds(NamedTuple):
    """How far a search goes. Freezing needs no bound: any node may stop at any step for ever."""

    nodes: int = 2
    epochs: int = 1
    rounds: int = 2  # of ballots, per node and epoch
    restarts: int = 0  # of all nodes together; each leaves a write in flight that may land at any time later
    lost: int = 0  # PREEMPT (AND ABORT) commands that get lost on their way
    by_region: bool = True  # a read of all regions sees one after the other, not all at one moment

    def told(self, mode: str) -> str:
        """For the table."""
        parts = [f"{self.nodes} nodes", _many(self.epochs, "epoch")]
        if mode == "paxos":
            parts.append(_many(self.rounds, "ballot"))
        parts.append(_many(self.restarts, "crash", "crashes"))
        if self.lost:
            parts.append(_many(self.lost, "lost fence"))
        if not self.by_region:
            parts.append("reads at one moment")
        return ", ".join(parts)


def _many(count: int, one: str, more: str | None = None) -> str:
    return f"{count or 'no'} {one if count == 1 else more or one + 's'}"
