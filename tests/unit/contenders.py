"""Nodes that contend for one epoch on a disk in memory, in either mode: what `Election` does with a contest, without
time. Each write and each read of all blocks is one atomic step; who steps next is chosen from outside.
"""

from __future__ import annotations

import copy
from typing import Any

from guestd.membership.dekker import Tournament
from guestd.membership.paxos import Bid

EPOCH = 7
Contest = Bid | Tournament
Life = tuple[int, int]


class Contenders:
    """The world; `step`, `crash` and `fence` are all that can happen in it."""

    def __init__(self, nodes: int, crashes: int = 0, fences: int = 0, *, mode: str = "paxos") -> None:
        self.mode = mode
        self.disk: list[Any] = [None] * nodes
        self.bids: list[Contest | None] = [None] * nodes
        self.seen: list[list[Any]] = [[None] * nodes for _ in range(nodes)]
        self.incarnations = [1] * nodes
        self.over = [False] * nodes  # fenced: it cannot write any more
        self.crashes_left = crashes
        self.fences_left = fences
        self.decided: set[Life] = set()
        self.winners: set[Life] = set()  # lives that own the epoch and can still commit it

    def step(self, node: int) -> None:
        """The next command of that node; nothing if there is none."""
        bid = self.bids[node]
        if self.over[node] or (self.mode == "dekker" and bid is not None and bid.decided):
            return
        if bid is None or bid.lost or bid.decided:
            contest = Tournament if self.mode == "dekker" else Bid
            self.bids[node] = contest(node, self.incarnations[node], EPOCH, self.seen[node])
        elif bid.writing:
            self.disk[node] = self.seen[node][node] = bid.block
            bid.written()
        else:
            self.seen[node] = [block if other != node else bid.block for other, block in enumerate(self.disk)]
            bid.read(self.seen[node])
            self._look(node, bid)

    def _look(self, node: int, bid: Contest) -> None:
        if isinstance(bid, Bid) and bid.decided:
            self.decided.add((bid.block.owner, bid.block.owner_incarnation))
        if bid.decided and bid.won:
            self.winners.add((node, self.incarnations[node]))
        assert len(self.decided) <= 1, f"two values: {self.decided}"
        assert len(self.winners) <= 1, f"two owners: {self.winners}"

    def crash(self, node: int) -> None:
        """The node boots again and reads all blocks, its own among them, before it bids."""
        self.crashes_left -= 1
        self._end(node, self.incarnations[node])
        self.bids[node] = None
        self.incarnations[node] += 1
        self.over[node] = False
        self.seen[node] = list(self.disk)

    def fence(self, node: int) -> None:
        """Who is held up fences all that hold it up, and ignores their flags from then on."""
        self.fences_left -= 1
        bid = self.bids[node]
        assert isinstance(bid, Tournament)
        for rival in bid.rivals:
            self._end(*rival)
            bid.ignore(rival)

    def may_fence(self, node: int) -> bool:
        """Whether it is held up."""
        bid = self.bids[node]
        return isinstance(bid, Tournament) and bid.reading and bool(bid.rivals) and not self.over[node]

    def _end(self, node: int, incarnation: int) -> None:
        """Nothing of that life lands any more. In mode `dekker` the epoch may have another owner then."""
        if self.incarnations[node] == incarnation:
            self.over[node] = True
        if self.mode == "dekker":
            self.winners.discard((node, incarnation))

    def following(self) -> list[Contenders]:
        """The world after each thing that can happen next."""
        after = []
        for node in range(len(self.disk)):
            for happens, possible in (
                (Contenders.step, True),
                (Contenders.crash, self.crashes_left > 0),
                (Contenders.fence, self.fences_left > 0 and self.may_fence(node)),
            ):
                if possible:
                    twin = self._twin()
                    happens(twin, node)
                    after.append(twin)
        return after

    def _twin(self) -> Contenders:
        twin = copy.copy(self)
        twin.disk, twin.seen = list(self.disk), [list(seen) for seen in self.seen]
        twin.incarnations, twin.over = list(self.incarnations), list(self.over)
        twin.decided, twin.winners = set(self.decided), set(self.winners)
        twin.bids = [copy.copy(bid) for bid in self.bids]
        return twin

    def key(self) -> object:
        """Equal for equal worlds."""
        bids = tuple(None if bid is None else _state(bid) for bid in self.bids)
        left = (self.crashes_left, self.fences_left)
        known = (tuple(self.disk), tuple(map(tuple, self.seen)), tuple(self.incarnations), tuple(self.over))
        return bids, known, left, tuple(sorted(self.decided)), tuple(sorted(self.winners))


def _state(bid: Contest) -> object:
    rest = (bid.rivals, tuple(sorted(bid._ignored))) if isinstance(bid, Tournament) else None
    return bid.phase.value, bid.block, rest
