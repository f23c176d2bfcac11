"""Keeps forced-out lives off all disks, before anything is done in their place (spec S6.2).

LUN 0 first: PREEMPT AND ABORT of each victim's key, then READ KEYS: none of them may be there, and the own one must be.
Then the same on each further disk. Two that fence each other meet on LUN 0, and who loses there comes to no other disk:
raced for on several at once, each could win one, and both would die. So a key that is removed from a further disk is
that of a life which LUN 0 has refused already, whoever removes it and however late.

A victim whose key was gone before has aborted its own commands (`registration.py`), or somebody else has.

A further disk may not answer while LUN 0 does: that stops no heartbeat. After `death_ms` the fence is given up, and as
long as its command has not ended there the next one comes to nothing at once.
"""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.fence import persistent_reserve as pr
from guestd.fence.keys import key_of, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guestd.core.context import Context
    from guestd.fence.reservations import Reservations

    Life = tuple[int, int]  # node, incarnation
    Ended = Callable[["Outcome"], None]


class Outcome(Enum):
    """What a fence came to."""

    FENCED = "fenced"  # verified: no victim is registered any more
    OPEN = "open"  # a disk did not answer, or still knows a victim: nothing may be done in their place
    OUT = "out"  # this node itself is not registered any more


class Fence:
    """Of one life of a node."""

    def __init__(self, context: Context, reservations: Sequence[Reservations]) -> None:
        """reservations: of every disk, by LUN."""
        self._context = context
        self._reservations = reservations
        self._rounds: list[Round] = []  # that are busy with a further disk
        self._under_way = [0] * len(reservations)  # commands that have not ended, by LUN
        self.ended_at = 0
        """The LUN of the disk at which the last fence that came to nothing did so."""

    def keep_out(self, own: Life, victims: Sequence[Life], then: Ended) -> None:
        """Calls `then` once with what it came to; at once if there are no victims."""
        if victims:
            Round(self, key_of(*own), victims, then).begin(0)
        else:
            then(Outcome.FENCED)

    def tick(self, counted_ms: int) -> None:
        """Time has passed: give up who does not answer. LUN 0 is waited for, as by everything else."""
        limit_ms = self._context.config.timing.death_ms
        for one in list(self._rounds):
            one.waited_ms += counted_ms
            if one.waited_ms >= limit_ms:
                one.end(Outcome.OPEN)

    @property
    def context(self) -> Context:
        """Of its node."""
        return self._context

    def disks(self) -> int:
        """How many."""
        return len(self._reservations)

    def is_stuck(self, lun: int) -> bool:
        """Whether a further disk has not answered a command of an earlier round."""
        return lun > 0 and self._under_way[lun] > 0

    def enter(self, one: Round) -> None:
        """It comes to a further disk."""
        if one not in self._rounds:
            self._rounds.append(one)

    def over(self, one: Round, outcome: Outcome) -> None:
        """It has ended."""
        if one in self._rounds:
            self._rounds.remove(one)
        if outcome is not Outcome.FENCED:
            self.ended_at = one.lun

    def preempt(self, lun: int, key: int, victim: Life, then: Callable[[int], None]) -> None:
        """PREEMPT AND ABORT of the key of that life; then(status)."""
        self._under_way[lun] += 1

        def ended(status: int) -> None:
            self._under_way[lun] -= 1
            if status == pr.GOOD:
                where = {"lun": lun} if lun else {}
                gone = shown(key_of(*victim))
                self._context.emit("preempted", subject=victim[0], incarnation=victim[1], key=gone, **where)
            then(status)

        self._reservations[lun].preempt_and_abort(key, key_of(*victim), ended)

    def read_keys(self, lun: int, then: Callable[[list[int] | None], None]) -> None:
        """Who is registered there; None: no answer."""
        self._under_way[lun] += 1

        def ended(keys: list[int] | None) -> None:
            self._under_way[lun] -= 1
            then(keys)

        self._reservations[lun].read_keys(ended)


class Round:
    """One fence, disk after disk."""

    def __init__(self, fence: Fence, key: int, victims: Sequence[Life], then: Ended) -> None:
        self._fence = fence
        self._key = key
        self._victims = victims
        self._then: Ended | None = then  # None: it has ended
        self.lun = 0
        self.waited_ms = 0  # for the present disk

    def begin(self, lun: int) -> None:
        """At that disk; those before have been verified."""
        if lun == self._fence.disks():
            for node, incarnation in self._victims:
                self._fence.context.emit("fenced", subject=node, incarnation=incarnation)
            self.end(Outcome.FENCED)
            return
        self.lun, self.waited_ms = lun, 0
        if self._fence.is_stuck(lun):
            self.end(Outcome.OPEN)
            return
        if lun:
            self._fence.enter(self)
        self._preempt(list(self._victims))

    def _preempt(self, victims: list[Life]) -> None:
        if not victims:
            self._verify()
            return
        victim, *others = victims

        def ended(status: int) -> None:
            # A conflict: the victim's key is gone, or the own one. The verification tells.
            if status in (pr.GOOD, pr.RESERVATION_CONFLICT):
                self._unless_over(lambda: self._preempt(others))
            else:
                self.end(Outcome.OPEN)

        self._fence.preempt(self.lun, self._key, victim, ended)

    def _verify(self) -> None:
        def have_keys(keys: list[int] | None) -> None:
            if keys is None:
                self.end(Outcome.OPEN)
            elif self._key not in keys:
                self.end(Outcome.OUT)
            elif any(key_of(*victim) in keys for victim in self._victims):
                self.end(Outcome.OPEN)
            else:
                self._unless_over(lambda: self.begin(self.lun + 1))

        self._fence.read_keys(self.lun, have_keys)

    def end(self, outcome: Outcome) -> None:
        """That is what it came to; what comes later says nothing."""
        then, self._then = self._then, None
        if then is not None:
            self._fence.over(self, outcome)
            then(outcome)

    def _unless_over(self, go_on: Callable[[], None]) -> None:
        """It may have been given up before its command has ended."""
        if self._then is not None:
            go_on()
