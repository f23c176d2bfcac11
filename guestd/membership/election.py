"""Runs a bid (`paxos.py`) against the disk and says how it ended."""

from __future__ import annotations

from guestd.membership.paxos import Bid, Phase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.core.context import Context
    from guestd.membership.database import Database
    from guestd.membership.regions import Region

    Reader = Callable[[Callable[[list[Region] | None], None]], None]


class Election:
    """At most one bid at a time."""

    def __init__(self, context: Context, database: Database, read: Reader) -> None:
        """read: reads all regions, and lets the node take in everything that they show before it goes on."""
        self._context = context
        self._database = database
        self._read = read
        self._bid: Bid | None = None
        self._ended: Callable[[bool], None] = lambda _won: None
        self._stalled = False  # some block could not be read: read again at the next tick
        self._burned_epoch = 0  # decided for somebody else: of no use to bid for any more
        self.not_before_ms = 0  # the earliest time of the next bid

    @property
    def running(self) -> bool:
        """A bid is under way."""
        return self._bid is not None

    def start(self, incarnation: int, after_epoch: int, ended: Callable[[bool], None]) -> None:
        """Bid for the epoch that follows; ended(whether it was won) is called once."""
        assert self._bid is None, "one bid at a time"
        epoch = self._next_epoch(after_epoch)
        self._bid = Bid(self._context.node, incarnation, epoch, self._database.ballots())
        self._ended = ended
        self._context.emit("bid", epoch=epoch, ballot=self._bid.block.mbal)
        self._write()

    @property
    def epoch(self) -> int:
        """The epoch of the bid that is under way, or 0."""
        return 0 if self._bid is None else self._bid.block.epoch

    @property
    def ballot(self) -> int:
        """The ballot of the bid that is under way, or 0."""
        return 0 if self._bid is None else self._bid.block.mbal

    def given(self, incarnation: int, after_epoch: int) -> bool:
        """Another node has written that the epoch that is next to be bid for is this life's: it took over its value.

        That node has lost its bid by it, and waits; this one may have given way before it knew.
        """
        own = self._context.node
        return any(
            ballot.bal and ballot.owner_incarnation == incarnation and ballot.epoch == self._next_epoch(after_epoch)
            for node, ballot in enumerate(self._database.ballots())
            if ballot is not None and ballot.owner == own != node
        )

    def _next_epoch(self, after_epoch: int) -> int:
        # Blocks of a later epoch than the membership's next one: its commit record was lost. Below them nobody can win.
        latest = max((ballot.epoch for ballot in self._database.ballots() if ballot is not None), default=0)
        return max(after_epoch, self._burned_epoch, latest - 1) + 1

    def burn(self, epoch: int) -> None:
        """Never bid for that epoch: what this node's earlier life chose in it can no longer be read."""
        self._burned_epoch = max(self._burned_epoch, epoch)

    def tick(self) -> None:
        """Read again what could not be read."""
        if self._stalled:
            self._stalled = False
            self._read(self._have_read)

    def overtaken(self, epoch: int, master: int) -> None:
        """A commit record of that epoch was seen: a bid for it or an earlier one is of no use any more."""
        if self._bid is not None and epoch >= self._bid.block.epoch:
            self._lose(master)

    def _write(self) -> None:
        assert self._bid is not None
        bid = self._bid

        def written(ok: bool) -> None:
            if self._bid is not bid:
                return
            if not ok:
                self._lose(None)
                return
            bid.written()
            self._read(self._have_read)

        self._database.write_ballot(bid.block, written)

    def _have_read(self, found: list[Region] | None) -> None:
        bid = self._bid
        if bid is None or bid.phase not in (Phase.READING_MBAL, Phase.READING_VALUE):
            return
        if found is None:
            self._stalled = True
            return
        unreadable = [node for node, region in enumerate(found) if any(name == "ballot" for name, _ in region.damaged)]
        phase = bid.read(self._database.ballots(), unreadable)
        if phase is Phase.LOST:
            self._lose(bid.lost_to)
        elif phase is Phase.WRITING_VALUE:
            self._write()
        elif phase is not Phase.DECIDED:
            self._stalled = True
        elif bid.won:
            # `ended` still sees the epoch and the ballot of the bid.
            self._ended(True)
            self._bid = None
        else:
            self.burn(bid.block.epoch)
            self._lose(bid.block.owner)
            # Whoever goes past that epoch fences its owner (`Office`): it gets the time that a silence takes.
            self.not_before_ms = self._context.now_ms + self._context.config.timing.death_ms

    def _lose(self, to: int | None) -> None:
        """Give way, and leave the other one time: nodes with higher ids wait longer, so that they do not collide."""
        assert self._bid is not None
        self._context.emit("bid-lost", epoch=self._bid.block.epoch, to=to)
        timing = self._context.config.timing
        self.not_before_ms = self._context.now_ms + timing.bid_again_ms(self._context.node)
        self._bid = None
        self._ended(False)
