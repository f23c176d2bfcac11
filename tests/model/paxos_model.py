"""Mode `paxos`: the contest is Disk Paxos as guestd does it.

Which ballot comes next, whether a bid may go on, and with which value is asked of the project's own code: `Bid` and the
table `PHASES` of `guestd/membership/paxos.py`. Sequence numbers are left out of the blocks: they only count.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from guestd.core.config import NODES_MAX
from guestd.membership.paxos import PHASES, Bid, Phase
from guestd.membership.records import Ballot
from tests.model.disk import put
from tests.model.protocol import Life, Node, Protocol


class Block(NamedTuple):
    """A `Ballot` as a tuple, which is faster to hash, without its sequence number."""

    epoch: int
    life: int
    mbal: int
    bal: int
    owner: int
    owner_life: int


Blocks = tuple[Block | None, ...]
WRITING = {Phase.WRITING_MBAL.value: "mbal", Phase.WRITING_VALUE.value: "bal and value"}


class Paxos(Protocol):
    """`node.bid` is (epoch, phase)."""

    def enter(self, n: int, node: Node) -> Node | None:
        """`Election.start`, and that a bid goes to the newest epoch of which a block was seen."""
        epoch = max(node.view.epoch, node.burned) + 1
        if self.rules.rejoin:
            epoch = max([epoch, *(block.epoch for block in node.blocks if block is not None)])
        if epoch > self.bounds.epochs:
            return None
        block = first_block(n, node.life, epoch, node.blocks)
        if block.mbal // NODES_MAX > self.bounds.rounds:
            return None
        bid = (epoch, Phase.WRITING_MBAL.value)
        return node._replace(at="issue", bid=bid, blocks=put(node.blocks, n, block))

    def written(self, n: int, node: Node) -> Node:
        """Read all blocks now."""
        epoch, phase = node.bid
        following = PHASES.next(Phase(phase), "written")
        if following is Phase.READING_VALUE and not self.rules.second_read:
            return self._take(node) if node.blocks[n].owner == n else self._burn(node)
        return self.begin_reading(n, node._replace(bid=(epoch, following.value)))

    def have_read(self, n: int, node: Node) -> Node:
        """`Election._have_read`."""
        epoch, phase = node.bid
        following, block, won = after_read(n, phase, node.blocks)
        if following == Phase.LOST.value:
            return self._rest(node)
        if following == Phase.DECIDED.value:
            return node._replace(at="won", bid=(epoch, following)) if won else self._burn(node)
        return node._replace(at="issue", bid=(epoch, following), blocks=put(node.blocks, n, block))

    def decided(self, n: int, node: Node) -> Life | None:
        """For whom, whether this node or the one whose value it took over."""
        following, block, _ = after_read(n, node.bid[1], node.blocks)
        return (block.owner, block.owner_life) if following == Phase.DECIDED.value else None

    def _take(self, node: Node) -> Node:
        """Without the second read: one more look at nothing, so that the next step is the winner's."""
        return node._replace(at="taken", bid=(node.bid[0], Phase.DECIDED.value))

    def _burn(self, node: Node) -> Node:
        return self._rest(node)._replace(burned=max(node.burned, self._epoch(node)))

    def told(self, node: Node) -> str:
        """The write of this phase."""
        return WRITING[node.bid[1]]

    def breaks_promise(self, old: Any, new: Any) -> bool:
        """A block never goes back, and no two lives share a ballot."""
        if old is None:
            return False
        if new is None:
            return True
        same_ballot = (old.epoch, old.mbal) == (new.epoch, new.mbal)
        back = (new.epoch, new.mbal) < (old.epoch, old.mbal) or (old.epoch == new.epoch and new.bal < old.bal)
        return back or (same_ballot and old.life != new.life)

    def to_force_out(self, n: int, node: Node) -> tuple[Life, ...]:
        """Who may own an epoch that this bid goes past, and may commit it yet.

        Its block says so: either it was written before this node read, or its own second read finds this node's block
        of the later epoch, and it gives way.
        """
        epoch = self._epoch(node)
        return tuple(
            (m, block.life)
            for m, block in enumerate(node.blocks)
            if m != n
            and block is not None
            and node.view.epoch < block.epoch < epoch
            and block.bal
            and (block.owner, block.owner_life) == (m, block.life)
        )


@cache
def first_block(n: int, life: int, epoch: int, blocks: Blocks) -> Block:
    """The project's choice of a ballot."""
    return _block(Bid(n, life, epoch, _ballots(blocks)).block)


@cache
def after_read(n: int, phase: str, blocks: Blocks) -> tuple[str, Block, bool]:
    """The project's answer to a read: the next phase, the own block, and whether this node has won."""
    own = blocks[n]
    assert own is not None
    ballots = _ballots(blocks)
    bid = Bid(n, own.life, own.epoch, ballots)
    bid.phase, bid.block = Phase(phase), Ballot(0, *own)
    following = bid.read(ballots)
    return following.value, _block(bid.block), bid.won


def _ballots(blocks: Blocks) -> list[Ballot | None]:
    return [None if block is None else Ballot(0, *block) for block in blocks]


def _block(ballot: Ballot) -> Block:
    return Block(ballot.epoch, ballot.incarnation, ballot.mbal, ballot.bal, ballot.owner, ballot.owner_incarnation)
