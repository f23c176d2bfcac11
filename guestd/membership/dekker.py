"""Who owns an epoch, mode `dekker`: a tournament of two-node matches on one disk, one contest per epoch (spec S3.2).

A match is Dekker's problem, two contenders with reads and writes only, in Peterson's solution with two flags and a
turn (Peterson, Myths about the mutual exclusion problem, 1981); as every sector has one writer (S2.5) the turn is the
difference of two bits, one for each side (Kessels, Arbitration without common modifiable variables, 1982):

    raise the own flag; read the other side; give the turn away: side 0 makes its bit equal to the other's, side 1
    makes it different; read until the other flag is down or it is one's turn: bits different for side 0, equal for 1

Bit k of a node's id is its side in round k; who passes round k plays round k + 1 against whoever comes out of the other
half, and has one bit for each node that may. Who has passed its last round owns the epoch.

* Every epoch is a contest of its own: in a block of another epoch all flags are down and all bits are 0, and so they
  are in one's own when it begins. With bits that went on from one epoch to the next, a block that was damaged and is
  begun anew would let both pass (docs/election.md).
* Within an epoch a bit survives when a flag is raised again, and a restart: one that changed between the other's look
  and the other's write would let both pass, too. So a new life reads its own block before it contends.
* Within an epoch no flag is lowered by the life that raised it: the commit record ends the contest, and whoever has
  raised a flag goes on until it owns the epoch or sees that commit.
* A contender that stops holds up the others until they fence that life, verify it, and ignore its flag. There is no
  way round: a contest by reads and writes alone cannot tell a slow contender from a dead one.
* A write that failed is written again, the same bytes: one that is on the disk already is not changed by it.
"""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table
from guestd.core.value import replace
from guestd.membership.records import Match

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Life = tuple[int, int]  # node, incarnation


class Phase(Enum):
    """Where a node stands in its present match; in which round that is, the flags say."""

    RAISING = "raising"  # own flag of this round is on its way to the disk
    LOOKING = "looking"  # reading the bits of the other side
    YIELDING = "yielding"  # own bits, which give the turn away, are on their way
    WAITING = "waiting"  # reading until no other flag is up or it is the own turn
    WON = "won"  # passed the last round: this life owns the epoch
    LOST = "lost"  # somebody contends for a later epoch: this one is over


PHASES = Table(
    "match",
    Phase,
    {
        Phase.RAISING: {"written": Phase.LOOKING, "failed": Phase.RAISING},
        Phase.LOOKING: {"seen": Phase.YIELDING, "overtaken": Phase.LOST, "unreadable": Phase.LOOKING},
        Phase.YIELDING: {"written": Phase.WAITING, "failed": Phase.YIELDING},
        Phase.WAITING: {
            "held up": Phase.WAITING,
            "passed": Phase.RAISING,
            "last passed": Phase.WON,
            "overtaken": Phase.LOST,
            "unreadable": Phase.WAITING,
        },
        Phase.WON: {"again": Phase.WAITING},  # nothing was committed after the win: it looks once more
        Phase.LOST: {},
    },
)
WRITING = (Phase.RAISING, Phase.YIELDING)
READING = (Phase.LOOKING, Phase.WAITING)


class Tournament:
    """One node's contest for one epoch. `block` is what to write while `phase` is a writing one."""

    __slots__ = ("_ignored", "_nodes", "block", "lost_to", "node", "phase", "rivals")

    ballot = 0  # there are none in this mode

    def __init__(self, node: int, incarnation: int, epoch: int, blocks: Sequence[Match | None]) -> None:
        """blocks: as last seen, by node. One's own must be the one last written, or nothing ever was."""
        own = blocks[node]
        self.node = node
        self._nodes = len(blocks)
        self._ignored: tuple[Life, ...] = ()
        self.phase = Phase.RAISING
        self.lost_to: int | None = None
        self.rivals: tuple[Life, ...] = ()  # who held this node up at the last read
        sequence = 1 if own is None else own.sequence + 1
        bits = own.bits if own is not None and own.epoch == epoch else 0
        self.block = Match(sequence, epoch, incarnation, 1 << rounds(node, self._nodes)[0], bits)

    @property
    def round(self) -> int:
        """Of the present match: the last one whose flag was raised."""
        return self.block.flags.bit_length() - 1

    @property
    def rounds_left(self) -> int:
        """How many matches come after the present one."""
        return len([other for other in rounds(self.node, self._nodes) if other > self.round])

    @property
    def writing(self) -> bool:
        """The block is to be written."""
        return self.phase in WRITING

    @property
    def reading(self) -> bool:
        """All blocks are to be read."""
        return self.phase in READING

    @property
    def lost(self) -> bool:
        """Nothing comes of it any more."""
        return self.phase is Phase.LOST

    @property
    def decided(self) -> bool:
        """The epoch has an owner."""
        return self.phase is Phase.WON

    @property
    def won(self) -> bool:
        """The same: there is no other way to know of an owner than the commit record."""
        return self.decided

    def written(self) -> None:
        """The block is on the disk: all blocks must be read now, with a read that starts after this call."""
        self.phase = PHASES.next(self.phase, "written")

    def failed(self) -> None:
        """The block may be on the disk or not: the same one has to be written again."""
        self.phase = PHASES.next(self.phase, "failed")

    def again(self) -> None:
        """The owner has committed nothing, and begins once more: with a read that starts after this call."""
        self.phase = PHASES.next(self.phase, "again")

    def ignore(self, life: Life) -> None:
        """That life was fenced, which was verified: its flag does not count any more, from the next read on."""
        self._ignored += (life,)

    def read(self, blocks: Sequence[Match | None], unreadable: Sequence[int] = ()) -> Phase:
        """All blocks, by node, as read after the own one was written; unreadable: nodes whose block is damaged.

        Returns the new phase; the same one means: read again.
        """
        own = self.block
        later = [node for node, block in enumerate(blocks) if block is not None and block.epoch > own.epoch]
        self.rivals = ()
        if later:
            self.lost_to = later[0]
            trigger = "overtaken"
        elif any(node != self.node for node in unreadable):
            trigger = "unreadable"
        elif self.phase is Phase.LOOKING:
            self.block = self._with_turn_given(blocks)
            trigger = "seen"
        else:
            self.rivals = tuple(self._held_up_by(blocks))
            trigger = "held up" if self.rivals else "passed" if self.rounds_left else "last passed"
            if trigger == "passed":
                following = min(other for other in rounds(self.node, self._nodes) if other > self.round)
                self.block = replace(own, sequence=own.sequence + 1, flags=own.flags | 1 << following)
        self.phase = PHASES.next(self.phase, trigger)
        return self.phase

    def may_have_begun(self, known_epoch: int, blocks: Sequence[Match | None]) -> tuple[Life, ...]:
        """Lives that may yet commit an epoch after the known one: the winner fences them and forces them out.

        Those whose flags it has ignored, for what they had committed before; and of the epochs that it goes past, who
        plays its last match or has won it.
        """
        between = tuple(
            (node, block.incarnation)
            for node, block in enumerate(blocks)
            if node != self.node
            and block is not None
            and known_epoch < block.epoch < self.block.epoch
            and block.flags >> rounds(node, self._nodes)[-1] & 1
        )
        return tuple(sorted({*self._ignored, *between}))

    def _with_turn_given(self, blocks: Sequence[Match | None]) -> Match:
        """The own block with the turn given to everybody who may come out of the other half."""
        bits = self.block.bits
        side = self.node >> self.round & 1
        for node in opponents(self.node, self._nodes, self.round):
            bit = self._bit(blocks[node], self.node) ^ side
            bits = bits & ~(1 << node) | bit << node
        return replace(self.block, sequence=self.block.sequence + 1, bits=bits)

    def _held_up_by(self, blocks: Sequence[Match | None]) -> Iterator[Life]:
        """Who has its flag of this round up, is not ignored, and has the turn."""
        own, side = self.block, self.node >> self.round & 1
        for node in opponents(self.node, self._nodes, self.round):
            block = blocks[node]
            if block is None or block.epoch != own.epoch or not block.flags >> self.round & 1:
                continue
            my_turn = (self._bit(own, node) != self._bit(block, self.node)) == (side == 0)
            if not my_turn and (node, block.incarnation) not in self._ignored:
                yield node, block.incarnation

    def _bit(self, block: Match | None, opponent: int) -> int:
        return block.bits >> opponent & 1 if block is not None and block.epoch == self.block.epoch else 0


def opponents(node: int, nodes: int, number: int) -> tuple[int, ...]:
    """Who may come out of the other half in that round: nodes whose ids differ in that bit, and in no higher one."""
    return tuple(other for other in range(nodes) if other >> number == (node >> number) ^ 1)


def rounds(node: int, nodes: int) -> tuple[int, ...]:
    """The rounds in which that node can have an opponent, ascending; where its other half is empty there is none."""
    return tuple(number for number in range((nodes - 1).bit_length()) if opponents(node, nodes, number))
