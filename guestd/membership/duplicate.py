"""Whether another machine runs with this machine's node id: then this one, the later, must not go on (spec S2.5, S2.6).

A node id that was given twice would have two writers in one region, and each new incarnation would force the other out.
The first machine must notice nothing, so the second has to know before it writes:

    read    the disk says that the last life may still live   -> watch, for `watch_ms`
            (with a fence at the disk: another path has a key
            of this node's; its own path's it ends itself)
            it left gracefully or was forced out, or never was -> go on at once
    watch   its heartbeat moves, or a datagram of it is heard  -> refused
            nobody is heard, though others move on the disk,   -> watch once more: only the disk can tell, and between
            or there is no other member                           two heartbeats may be more than a period
            nothing                                            -> go on

Both may begin at the same time. So a node that is not a member yet goes on looking: another machine shows by datagrams
of a former life, or of this one with numbers that this machine has not come to yet (of two that began together only the
one behind sees that), and by such heartbeats in its own sector.
"""

from __future__ import annotations

from guestd.core.effects import Wake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.core.context import Context
    from guestd.core.timing import Timing
    from guestd.membership.datagram import Say
    from guestd.membership.records import Heartbeat
    from guestd.membership.view import Entry


class DuplicateWatch:
    """One per stack. `reason`: why this machine must not go on, once that is known."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.reason: str | None = None
        self._first: Heartbeat | None = None  # the own record when the watch began
        self._ends_ms: int | None = None  # of the watch; None: not begun
        self._asked = False  # the look at the end of the watch is under way
        self._again = False  # the second watch
        self._heard_others = False

    def look(self, beat: Heartbeat | None, entry: Entry, *, only_disk: bool, registered: bool) -> bool:
        """Before anything is written: take in the own record and the own entry; True: look again when it is `due`.

        only_disk: that nobody is heard does not say that nobody is there. registered: another path of the disk has a
        key of this node's, so somebody has begun who may have written nothing yet.
        """
        if self._ends_ms is None:
            if not registered and not _may_live(beat, entry):
                return False
            self._first = beat
            self._watch()
            return True
        if beat is not None and (self._first is None or beat.sequence > self._first.sequence):
            self._found(f"its heartbeat on the disk moves (incarnation {beat.incarnation}, sequence {beat.sequence})")
            return False
        if self._context.now_ms < self._ends_ms:
            return True
        if only_disk and not self._heard_others and not self._again:
            self._again = True
            self._watch()
            return True
        return False

    def due(self) -> bool:
        """Whether it is time for the next look; true once."""
        if self._ends_ms is None or self._asked or self._context.now_ms < self._ends_ms:
            return False
        self._asked = True
        return True

    def heard(self, say: Say, incarnation: int, said: int) -> None:
        """A datagram. incarnation: of this machine, 0 before it has one; said: the number of its last datagram."""
        if say.node != self._context.node:
            self._heard_others = True
        elif (
            not incarnation or say.incarnation < incarnation or (say.incarnation == incarnation and say.sequence > said)
        ):
            self._found(f"it is heard on the interconnect (incarnation {say.incarnation})")

    def read_back(self, beat: Heartbeat | None, incarnation: int, written: int) -> None:
        """The own record after this machine has begun to write it; written: the number of its last write."""
        # A record of a former life proves nothing: it may be a write that was under way when that life ended.
        if beat is not None and beat.incarnation == incarnation and beat.sequence > written:
            self._found(f"it writes this node's heartbeat (incarnation {incarnation}, sequence {beat.sequence})")

    def _watch(self) -> None:
        period_ms = watch_ms(self._context.config.timing)
        self._ends_ms = self._context.now_ms + period_ms
        self._asked = False
        self._context.effects.append(Wake(period_ms))

    def _found(self, how: str) -> None:
        self.reason = f"another machine runs as node {self._context.node}: {how}"


def watch_ms(timing: Timing) -> int:
    """How long a watch is: a heartbeat on the disk waits for a tick, so two may lie a tick more than a period apart."""
    return timing.disk_heartbeat_ms + 2 * timing.heartbeat_ms


def _may_live(beat: Heartbeat | None, entry: Entry) -> bool:
    """Whether the disk says that this node's last life has neither left gracefully nor was forced out."""
    return entry.live or (beat is not None and beat.incarnation > entry.incarnation)
