"""Who owns an epoch: Disk Paxos on one disk, one instance per epoch (Gafni and Lamport, Disk Paxos, 2003).

    phase 1: write own block with a new mbal; read all blocks; give way to a higher one; else take the value of the
             block with the highest bal, or oneself if there is none
    phase 2: write own block with bal and that value; read all blocks; give way to a higher one; else it is decided

Of two contenders, each has written before it reads, so the later reader sees the other's block and one of them gives
way or takes over the other's value: two owners of one epoch cannot be, whatever the delays (spec S3.2). A block of a
later epoch counts as an infinitely high one: whoever has gone on knew that this epoch was settled. That is why a node
may overwrite its block of a past epoch. A block that cannot be read is no answer: the read is repeated.
"""

from __future__ import annotations

from guestd.core.config import NODES_MAX
from guestd.core.enumeration import Enum
from guestd.core.machine import Table
from guestd.core.value import replace
from guestd.membership.records import Ballot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Life = tuple[int, int]  # node, incarnation


class Phase(Enum):
    """Where a bid stands."""

    WRITING_MBAL = "writing-mbal"  # own block with a new mbal is on its way to the disk
    READING_MBAL = "reading-mbal"  # looking whether anybody has a higher one
    WRITING_VALUE = "writing-value"  # own block with bal and a value is on its way
    READING_VALUE = "reading-value"  # looking again
    DECIDED = "decided"  # the epoch has an owner: this node, or the one whose value was taken over
    LOST = "lost"  # gave way to a higher ballot or a later epoch


PHASES = Table(
    "bid",
    Phase,
    {
        Phase.WRITING_MBAL: {"written": Phase.READING_MBAL},
        Phase.READING_MBAL: {"clear": Phase.WRITING_VALUE, "overtaken": Phase.LOST, "unreadable": Phase.READING_MBAL},
        Phase.WRITING_VALUE: {"written": Phase.READING_VALUE},
        Phase.READING_VALUE: {"clear": Phase.DECIDED, "overtaken": Phase.LOST, "unreadable": Phase.READING_VALUE},
        Phase.DECIDED: {},
        Phase.LOST: {},
    },
)


WRITING = (Phase.WRITING_MBAL, Phase.WRITING_VALUE)
READING = (Phase.READING_MBAL, Phase.READING_VALUE)


class Bid:
    """One attempt of one node to own an epoch. `block` is what to write while `phase` is a writing one."""

    __slots__ = ("block", "lost_to", "node", "phase")

    def __init__(self, node: int, incarnation: int, epoch: int, blocks: Sequence[Ballot | None]) -> None:
        """blocks: as last seen, by node. One's own must be the one last written, or nothing ever was."""
        own = blocks[node]
        rounds = [block.mbal // NODES_MAX for block in blocks if block is not None and block.epoch == epoch]
        mbal = (max(rounds, default=0) + 1) * NODES_MAX + node  # unique: no other node has this remainder
        self.node = node
        self.phase = Phase.WRITING_MBAL
        self.lost_to: int | None = None
        if own is not None and own.epoch == epoch:
            # What was chosen in an earlier ballot of this epoch may have been decided: it is never forgotten.
            self.block = replace(own, sequence=own.sequence + 1, incarnation=incarnation, mbal=mbal)
        else:
            sequence = 1 if own is None else own.sequence + 1
            self.block = Ballot(sequence, epoch, incarnation, mbal, bal=0, owner=0, owner_incarnation=0)

    @property
    def ballot(self) -> int:
        """Its number."""
        return self.block.mbal

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
        """Gave way."""
        return self.phase is Phase.LOST

    @property
    def decided(self) -> bool:
        """The epoch has an owner, this life or another one: the block says who."""
        return self.phase is Phase.DECIDED

    def written(self) -> None:
        """The block is on the disk: all blocks must be read now, with a read that starts after this call."""
        self.phase = PHASES.next(self.phase, "written")

    def read(self, blocks: Sequence[Ballot | None], unreadable: Sequence[int] = ()) -> Phase:
        """All blocks, by node, as read after the own one was written; unreadable: nodes whose block is damaged.

        Returns the new phase; the same one means: read again.
        """
        own = self.block
        higher = [
            node
            for node, block in enumerate(blocks)
            if node != self.node and block is not None and (block.epoch, block.mbal) > (own.epoch, own.mbal)
        ]
        if higher:
            self.lost_to = higher[0]
            self.phase = PHASES.next(self.phase, "overtaken")
        elif any(node != self.node for node in unreadable):
            self.phase = PHASES.next(self.phase, "unreadable")
        else:
            if self.phase is Phase.READING_MBAL:
                self.block = self._with_value(blocks)
            self.phase = PHASES.next(self.phase, "clear")
        return self.phase

    def may_have_begun(self, known_epoch: int, blocks: Sequence[Ballot | None]) -> tuple[Life, ...]:
        """Lives that own an epoch between the known one and this one, by their own blocks: they may commit it yet.

        The winner fences them and forces them out. They had as much time as others have to be heard; what they commit
        later would be lost (docs/election.md).
        """
        return tuple(
            (node, block.owner_incarnation)
            for node, block in enumerate(blocks)
            if node != self.node
            and block is not None
            and known_epoch < block.epoch < self.block.epoch
            and block.bal
            and block.owner == node
        )

    def _with_value(self, blocks: Sequence[Ballot | None]) -> Ballot:
        """The own block for phase 2: the value with the highest bal of this epoch, else this very life of this node."""
        own = self.block
        chosen = own
        for node, block in enumerate(blocks):
            if node != self.node and block is not None and block.epoch == own.epoch and block.bal > chosen.bal:
                chosen = block
        owner, life = (chosen.owner, chosen.owner_incarnation) if chosen.bal else (self.node, own.incarnation)
        return replace(own, sequence=own.sequence + 1, bal=own.mbal, owner=owner, owner_incarnation=life)

    @property
    def won(self) -> bool:
        """Decided, and for this life of this node."""
        block = self.block
        mine = (block.owner, block.owner_incarnation) == (self.node, block.incarnation)
        return self.phase is Phase.DECIDED and mine
