"""Whom a contender has waited for long enough (mode `dekker`): it may fence that life, and ignore its flag then.

T=0                   the last heartbeat of a contender, which dies with its flag up
T=death_ms            whoever it holds up fences it: the silence counts from its last heartbeat on the disk, not from
                      when the wait began, so the death of a master costs its successor no more than in mode `paxos`

A later life of its node is as good a proof as silence: the flag of an earlier life holds nobody up. A contender whose
heartbeats go on and whose block does not (its reads fail, say) is waited for longer: it may itself wait, in a later
round, for one that has died. So patience grows with the rounds that are left, and of two that wait for one another in a
row, it is the one nearer to the trouble that acts.

Time in which this node could not see the disk does not count, nor does a pause of its own (`observer.py`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from guestd.core.timing import Timing
    from guestd.membership.dekker import Life
    from guestd.membership.observer import Observer
    from guestd.membership.records import Match


class Rivals:
    """The wait of one contender."""

    def __init__(self, observer: Observer, timing: Timing) -> None:
        self._observer = observer
        self._timing = timing
        self._waited: dict[Life, tuple[int, int]] = {}  # life -> sequence number of its block, for how long (ms)

    def tick(self, counted_ms: int) -> None:
        """So much time has passed that counts."""
        if self._waited:  # hardly ever
            self._waited = {life: (block, waited_ms + counted_ms) for life, (block, waited_ms) in self._waited.items()}

    def forget(self) -> None:
        """The wait is over, or the disk could not be read: count anew."""
        self._waited = {}

    def overdue(self, rivals: Sequence[Life], blocks: Sequence[Match | None], rounds_left: int) -> Life | None:
        """The first of those who hold this node up, by the read that has just ended, whom it may fence."""
        before, self._waited = self._waited, {}
        for life in rivals:
            block = blocks[life[0]]
            sequence = 0 if block is None else block.sequence
            known, waited_ms = before.get(life, (sequence, 0))
            self._waited[life] = (sequence, waited_ms if known == sequence else 0)
        patience_ms = self._timing.contest_ms(rounds_left)
        return next((life for life in rivals if self._is_over(life) or self._waited[life][1] >= patience_ms), None)

    def _is_over(self, life: Life) -> bool:
        """Dead, as far as anybody can see: replaced, or silent on the disk, where a contest is held."""
        node, incarnation = life
        observer, death_ms = self._observer, self._timing.death_ms
        # Never seen to move: it counts for as long as this node has looked.
        silent_ms = min(observer.peers[node].unmoved_ms, observer.watched_ms)
        return silent_ms >= death_ms or observer.replaced(node, incarnation)
