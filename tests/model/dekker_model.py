"""Mode `dekker`: the contest is a tournament of two-node matches on shared sectors.

A match is Dekker's problem, two contenders with reads and writes only, in Peterson's solution with two flags and a
turn; as every sector has one writer (S2.5) the turn is the difference of two bits, one for each side (Kessels,
Arbitration without common modifiable variables, 1982):

    raise the own flag; read the other side; side 0 makes its bit equal to the other's, side 1 makes it different;
    pass when the other flag is down, or the bits say that it is one's turn: different for side 0, equal for side 1

Bit k of the node's id is its side in round k; who passes round k plays round k + 1 against whoever comes out of the
other half, and has one bit for each node that may. Node n's record says its flags by round and its bits by opponent.
Two things follow from the proof of a match and are easily missed: a bit survives when the flag is raised again, so a
new life reads its bits before it contends; and a flag is never lowered within an epoch, for the commit record ends the
contest. So a contender that stops holds up the others until they force it out: only when its fence is verified is its
flag ignored.

guestd has no code for this mode yet: this is the reference for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.disk import put
from tests.model.protocol import Life, Node, Protocol, State


class Match(NamedTuple):
    """A node's record: flags by round, bits by opponent."""

    epoch: int
    life: int
    flags: tuple[bool, ...]
    bits: tuple[int, ...]


class Dekker(Protocol):
    """`node.bid` is (epoch, round, stage): flag, turn (writing), see, wait (reading)."""

    def rounds_of(self, n: int) -> tuple[int, ...]:
        """The rounds in which that node can have an opponent; where its half is empty there is no match."""
        count = (self.bounds.nodes - 1).bit_length()
        return tuple(k for k in range(count) if self.opponents(n, k))

    def opponents(self, n: int, k: int) -> tuple[int, ...]:
        """Who may come out of the other half in that round."""
        return tuple(m for m in range(self.bounds.nodes) if m >> k == (n >> k) ^ 1)

    def enter(self, n: int, node: Node) -> Node | None:
        """Raise the flag of the first match, for the epoch that follows."""
        epoch = node.view.epoch + 1
        if epoch > self.bounds.epochs:
            return None
        count = (self.bounds.nodes - 1).bit_length()
        first = self.rounds_of(n)[0]
        own: Match | None = node.blocks[n]
        bits = (0,) * self.bounds.nodes if own is None else own.bits
        match = Match(epoch, node.life, tuple(k == first for k in range(count)), bits)
        return node._replace(at="issue", bid=(epoch, first, "flag"), blocks=put(node.blocks, n, match))

    def written(self, n: int, node: Node) -> Node:
        """A flag is followed by a look at the other side, a bit by the wait for one's turn."""
        epoch, k, stage = node.bid
        if stage == "turn" and not self.rules.second_read:
            return node._replace(at="taken")
        return self.begin_reading(n, node._replace(bid=(epoch, k, "see" if stage == "flag" else "wait")))

    def have_read(self, n: int, node: Node) -> Node:
        """Write the bit; or pass, or wait."""
        epoch, k, stage = node.bid
        if any(match is not None and match.epoch > epoch for match in node.blocks):
            return self._rest(node)
        own: Match = node.blocks[n]
        if stage == "see":
            bits = list(own.bits)
            for m in self.opponents(n, k):
                other = node.blocks[m]
                bits[m] = (0 if other is None else other.bits[n]) ^ (n >> k & 1)
            after = own._replace(bits=tuple(bits))
            return node._replace(at="issue", bid=(epoch, k, "turn"), blocks=put(node.blocks, n, after))
        if any(not self._my_turn(n, k, own, m, match) for m, match in self._rivals(n, node)):
            return node._replace(at="wait")
        later = [other for other in self.rounds_of(n) if other > k]
        if not later:
            return node._replace(at="won")
        after = own._replace(flags=put(own.flags, later[0], True))
        return node._replace(at="issue", bid=(epoch, later[0], "flag"), blocks=put(node.blocks, n, after))

    def waiting(self, state: State, n: int, node: Node) -> Iterator[tuple[str, Node]]:
        """Look again when there is something new; or suspect an opponent, at any time, and fence it."""
        if self._see_all(n, node, state.disk) != node:
            yield "looks again", self.begin_reading(n, node)
        k = node.bid[1]
        for m, match in self._rivals(n, node):
            if self._my_turn(n, k, node.blocks[n], m, match):
                continue
            rival: Life = (m, match.life)
            if self.rules.fence == "none" or not self.rules.fence_first:
                yield f"takes n{m} for dead", self.begin_reading(n, node._replace(passed=(*node.passed, rival)))
            else:
                yield f"suspects n{m}", node._replace(at="fence", victims=(rival,))

    def told(self, node: Node) -> str:
        """The write of this stage."""
        return f"its {node.bid[2]} of round {node.bid[1]}"

    def _rivals(self, n: int, node: Node) -> Iterator[tuple[int, Match]]:
        """Opponents with their flag up that were not fenced."""
        epoch, k, _ = node.bid
        for m in self.opponents(n, k):
            match = node.blocks[m]
            if match is not None and match.epoch == epoch and match.flags[k] and (m, match.life) not in node.passed:
                yield m, match

    def _my_turn(self, n: int, k: int, own: Match, m: int, other: Match) -> bool:
        return (own.bits[m] != other.bits[n]) == (n >> k & 1 == 0)
