"""Mode `dekker`: the contest is a tournament of two-node matches on shared sectors, as guestd does it.

What a node writes next, whether it passes a match, and who holds it up is asked of the project's own code: `Tournament`
and the table `PHASES` of `guestd/membership/dekker.py`, where the protocol is explained. Sequence numbers are left out
of the blocks: they only count.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from guestd.membership.dekker import PHASES, Phase, Tournament
from guestd.membership.records import Match
from tests.model.disk import put
from tests.model.protocol import Life, Node, Protocol, State


class Block(NamedTuple):
    """A `Match` as a tuple, which is faster to hash, without its sequence number."""

    epoch: int
    life: int
    flags: int
    bits: int


Blocks = tuple[Block | None, ...]
Answer = tuple[str, Block, tuple[Life, ...], bool]
WRITING = {Phase.RAISING.value: "flag", Phase.YIELDING.value: "turn"}


class Dekker(Protocol):
    """`node.bid` is (epoch, phase); the round is that of the last flag in the own block."""

    def enter(self, n: int, node: Node) -> Node | None:
        """`Election.start`: raise the flag of the first match, for the newest epoch of which a block was seen."""
        epoch = max(node.view.epoch, node.burned) + 1
        if self.rules.rejoin:
            epoch = max([epoch, *(block.epoch for block in node.blocks if block is not None)])
        if epoch > self.bounds.epochs:
            return None
        block = first_block(n, node.life, epoch, node.blocks)
        return node._replace(at="issue", bid=(epoch, Phase.RAISING.value), blocks=put(node.blocks, n, block))

    def written(self, n: int, node: Node) -> Node:
        """A flag is followed by a look at the other side, a bit by the wait for one's turn."""
        epoch, phase = node.bid
        following = PHASES.next(Phase(phase), "written")
        if following is Phase.WAITING and not self.rules.second_read:
            return node._replace(at="taken")
        return self.begin_reading(n, node._replace(bid=(epoch, following.value)))

    def have_read(self, n: int, node: Node) -> Node:
        """`Election._have_read`: write the bit; or pass, or wait."""
        following, block, rivals, _ = self._read_now(n, node)
        if following == Phase.LOST.value:
            return self._rest(node)
        if following == Phase.WON.value:
            return node._replace(at="won")
        if rivals:
            return node._replace(at="wait")
        return node._replace(at="issue", bid=(node.bid[0], following), blocks=put(node.blocks, n, block))

    def waiting(self, state: State, n: int, node: Node) -> Iterator[tuple[str, Node]]:
        """Look again when there is something new; or suspect an opponent, at any time, and fence it."""
        if self._see_all(n, node, state.disk) != node:
            yield "looks again", self.begin_reading(n, node)
        for m, life in self._read_now(n, node)[2]:
            if self.rules.fence == "none" or not self.rules.fence_first:
                yield f"takes n{m} for dead", self.begin_reading(n, node._replace(passed=(*node.passed, (m, life))))
            else:
                yield f"suspects n{m}", node._replace(at="fence", victims=((m, life),))

    def told(self, node: Node) -> str:
        """The write of this phase."""
        return f"its {WRITING[node.bid[1]]}"

    def to_force_out(self, n: int, node: Node) -> tuple[Life, ...]:
        """Whom the project's code names: who was fenced in the contest, and who may own an epoch between."""
        if not self.rules.contest:
            return node.passed
        return may_have_begun(n, node.view.epoch, node.blocks, node.passed)

    def _read_now(self, n: int, node: Node) -> Answer:
        return after_read(n, node.bid[1], node.blocks, node.passed)


@cache
def first_block(n: int, life: int, epoch: int, blocks: Blocks) -> Block:
    """The project's first flag of a contest."""
    return _block(Tournament(n, life, epoch, _matches(blocks)))


@cache
def after_read(n: int, phase: str, blocks: Blocks, passed: tuple[Life, ...]) -> Answer:
    """The project's answer to a read: the next phase, the own block, who holds this node up, and whether it has won."""
    contest = _contest(n, blocks, passed)
    contest.phase = Phase(phase)
    following = contest.read(_matches(blocks))
    return following.value, _block(contest), contest.rivals, contest.won


@cache
def may_have_begun(n: int, known: int, blocks: Blocks, passed: tuple[Life, ...]) -> tuple[Life, ...]:
    """The project's answer to whom a winner forces out."""
    return _contest(n, blocks, passed).may_have_begun(known, _matches(blocks))


def _contest(n: int, blocks: Blocks, passed: tuple[Life, ...]) -> Tournament:
    own = blocks[n]
    assert own is not None
    matches = _matches(blocks)
    contest = Tournament(n, own.life, own.epoch, matches)
    contest.block = Match(0, *own)
    for life in passed:
        contest.ignore(life)
    return contest


def _matches(blocks: Blocks) -> list[Match | None]:
    return [None if block is None else Match(0, *block) for block in blocks]


def _block(contest: Tournament) -> Block:
    match = contest.block
    return Block(match.epoch, match.incarnation, match.flags, match.bits)
