"""Keeps forced-out lives off the disk, before anything is done in their place (spec S6.2).

PREEMPT AND ABORT of each victim's key, then READ KEYS: none of them may be there, and the own one must be. A victim
whose key was gone before has aborted its own commands (`registration.py`), or somebody else has.
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


class Outcome(Enum):
    """What a fence came to."""

    FENCED = "fenced"  # verified: no victim is registered any more
    OPEN = "open"  # the disk did not answer, or still knows a victim: nothing may be done in their place
    OUT = "out"  # this node itself is not registered any more


class Fence:
    """At most one fence at a time."""

    def __init__(self, context: Context, reservations: Reservations) -> None:
        self._context = context
        self._reservations = reservations

    def keep_out(self, own: Life, victims: Sequence[Life], then: Callable[[Outcome], None]) -> None:
        """Calls `then` once with what it came to; at once if there are no victims."""
        if not victims:
            then(Outcome.FENCED)
            return
        key = key_of(*own)
        self._preempt(
            key, list(victims), lambda answered: self._verify(key, victims, then) if answered else then(Outcome.OPEN)
        )

    def _preempt(self, key: int, victims: list[Life], then: Callable[[bool], None]) -> None:
        if not victims:
            then(True)
            return
        victim, *others = victims

        def ended(status: int) -> None:
            if status == pr.GOOD:
                self._context.emit("preempted", subject=victim[0], incarnation=victim[1], key=shown(key_of(*victim)))
            # A conflict: the victim's key is gone, or the own one. The verification tells.
            if status in (pr.GOOD, pr.RESERVATION_CONFLICT):
                self._preempt(key, others, then)
            else:
                then(False)

        self._reservations.preempt_and_abort(key, key_of(*victim), ended)

    def _verify(self, key: int, victims: Sequence[Life], then: Callable[[Outcome], None]) -> None:
        def have_keys(keys: list[int] | None) -> None:
            if keys is None:
                then(Outcome.OPEN)
            elif key not in keys:
                then(Outcome.OUT)
            elif any(key_of(*victim) in keys for victim in victims):
                then(Outcome.OPEN)
            else:
                for node, incarnation in victims:
                    self._context.emit("fenced", subject=node, incarnation=incarnation)
                then(Outcome.FENCED)

        self._reservations.read_keys(have_keys)
