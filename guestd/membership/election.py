"""Runs a contest (`paxos.py`, `dekker.py`) against the disk and says how it ended."""

from __future__ import annotations

from guestd.membership.dekker import Tournament
from guestd.membership.paxos import Bid
from guestd.membership.rivals import Rivals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.core.context import Context
    from guestd.membership.database import Database
    from guestd.membership.dekker import Life
    from guestd.membership.observer import Observer
    from guestd.membership.regions import Region

    Reader = Callable[[Callable[[list[Region] | None], None]], None]
    KeepOut = Callable[[Life, Callable[[bool], None]], None]


class Election:
    """At most one bid at a time. A bid is a `Bid` in mode `paxos` and a `Tournament` in mode `dekker`."""

    def __init__(
        self, context: Context, database: Database, read: Reader, observer: Observer, keep_out: KeepOut
    ) -> None:
        """read: reads all regions, and lets the node take in everything that they show before it goes on.

        keep_out: fences a life, and says whether it is verified that nothing of it can land any more.
        """
        self._context = context
        self._database = database
        self._read = read
        self._keep_out = keep_out
        self._rivals = Rivals(observer, context.config.timing)
        self._bid: Bid | Tournament | None = None
        self._owned: Tournament | None = None  # the last one that was won, if that lasts until something is committed
        self._ended: Callable[[bool], None] = lambda _won: None
        self._stalled = False  # to be taken up again at the next tick: read again, or write again
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
        self._ended = ended
        self._rivals.forget()
        if self._owned is not None and self._owned.block.epoch == epoch:
            self._bid = self._owned
            self._bid.again()
        elif self._context.config.election == "dekker":
            self._bid = Tournament(self._context.node, incarnation, epoch, self._database.blocks())
        else:
            self._bid = Bid(self._context.node, incarnation, epoch, self._database.blocks())
        self._owned = None
        self._context.emit("bid", epoch=epoch, ballot=self._bid.ballot)
        self._go_on()

    @property
    def epoch(self) -> int:
        """The epoch of the bid that is under way, or 0."""
        return 0 if self._bid is None else self._bid.block.epoch

    @property
    def ballot(self) -> int:
        """The ballot of the bid that is under way, or 0."""
        return 0 if self._bid is None else self._bid.ballot

    def may_have_begun(self, known_epoch: int) -> tuple[Life, ...]:
        """Of a bid that was won: who may have committed an epoch after the known one, or commit it yet."""
        assert self._bid is not None
        return self._bid.may_have_begun(known_epoch, self._database.blocks())

    def given(self, incarnation: int, after_epoch: int) -> bool:
        """Whether the epoch that is next to be bid for is this life's already, and nothing of it was committed.

        Mode `paxos`: another node has written so, which took over its value. That node has lost its bid by it, and
        waits; this one may have given way before it knew. Mode `dekker`: it has won, and its flags hold up the others.
        """
        own = self._context.node
        if self._context.config.election == "dekker":
            return self._owned is not None and self._owned.block.epoch == self._next_epoch(after_epoch)
        for node, ballot in enumerate(self._database.blocks()):
            if ballot is None or ballot.owner != own or node == own or ballot.owner_incarnation != incarnation:
                continue
            if ballot.bal and ballot.epoch == self._next_epoch(after_epoch):
                return True
        return False

    def _next_epoch(self, after_epoch: int) -> int:
        # Blocks of a later epoch than the membership's next one: its commit record was lost. Below them nobody can win.
        latest = max((block.epoch for block in self._database.blocks() if block is not None), default=0)
        return max(after_epoch, self._burned_epoch, latest - 1) + 1

    def burn(self, epoch: int) -> None:
        """Never bid for that epoch, or an earlier one."""
        self._burned_epoch = max(self._burned_epoch, epoch)

    def burn_next(self, after_epoch: int) -> None:
        """Never bid for any epoch that this node's earlier life may have bid for: its block can no longer be read."""
        self.burn(self._next_epoch(after_epoch))

    def tick(self, counted_ms: int) -> None:
        """Take up again what could not be done. counted_ms: the time that counts as waited for a rival."""
        self._rivals.tick(counted_ms)
        if self._stalled:
            self._go_on()

    def overtaken(self, epoch: int, master: int) -> None:
        """A commit record of that epoch was seen: a bid for it or an earlier one is of no use any more."""
        if self._bid is not None and epoch >= self._bid.block.epoch:
            self._lose(master)

    def _go_on(self) -> None:
        """The next command of the bid."""
        bid = self._bid
        self._stalled = False
        if bid is None:
            return
        if bid.reading:
            self._read(lambda found: self._have_read(bid, found))
            return

        def written(ok: bool) -> None:
            if self._bid is not bid:
                return
            if ok:
                bid.written()
                self._go_on()
            elif isinstance(bid, Tournament):
                bid.failed()
                self._stalled = True
            else:
                self._lose(None)

        self._database.write_block(bid.block, written)

    def _have_read(self, bid: Bid | Tournament, found: list[Region] | None) -> None:
        if bid is not self._bid:
            return
        if found is None:
            self._rivals.forget()
            self._stalled = True
            return
        bid.read(self._database.blocks(), self._database.illegible(found))
        if bid.lost:
            self._lose(bid.lost_to)
        elif bid.writing:
            self._rivals.forget()
            self._go_on()
        elif bid.won:
            # `ended` still sees the bid.
            self._owned = bid if isinstance(bid, Tournament) else None
            self._ended(True)
            self._bid = None
        elif isinstance(bid, Tournament):
            self._wait(bid)
        elif bid.decided:
            self.burn(bid.block.epoch)
            self._lose(bid.block.owner)
            # Whoever goes past that epoch fences its owner (`Office`): it gets the time that a silence takes.
            self.not_before_ms = self._context.now_ms + self._context.config.timing.death_ms
        else:
            self._stalled = True

    def _wait(self, bid: Tournament) -> None:
        """Read again at the next tick; or fence who has held this node up for too long, and read then."""
        rival = self._rivals.overdue(bid.rivals, self._database.blocks(), bid.rounds_left)
        if rival is None:
            self._stalled = True
            return
        self._context.emit("held-up", epoch=bid.block.epoch, subject=rival[0], incarnation=rival[1])

        def fenced(verified: bool) -> None:
            if bid is not self._bid:
                return
            if verified:
                bid.ignore(rival)
                self._go_on()
            else:
                self._stalled = True

        self._keep_out(rival, fenced)

    def _lose(self, to: int | None) -> None:
        """Give way, and leave the other one time: nodes with higher ids wait longer, so that they do not collide."""
        assert self._bid is not None
        self._context.emit("bid-lost", epoch=self._bid.block.epoch, to=to)
        timing = self._context.config.timing
        self.not_before_ms = self._context.now_ms + timing.bid_again_ms(self._context.node)
        self._bid = None
        self._stalled = False
        self._ended(False)
