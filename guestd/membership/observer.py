"""Who is alive: what was last seen of every other node, on the disk and over the interconnect.

Silence is counted in time in which this node was itself able to notice: a gap between two ticks, or between two
successful reads of the disk, counts for at most `GAP_PERIODS_MAX` periods. Otherwise a node that was stopped for ten
seconds, or whose disk hung, would wake up and take everybody else for dead.
"""

from __future__ import annotations

from guestd.core.timing import GAP_PERIODS_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from guestd.core.timing import Timing
    from guestd.membership.announcement import Announcement
    from guestd.membership.datagram import Say
    from guestd.membership.position import Position
    from guestd.membership.records import Heartbeat

FOREVER_MS = 1 << 60


class Peer:
    """What is known of one other node. Mutable; one per configured node."""

    __slots__ = (
        "acknowledged",
        "gasp",
        "heard_epoch",
        "heard_hears",
        "heard_incarnation",
        "heard_intent",
        "heard_sequence",
        "heartbeat",
        "incarnation",
        "programs",
        "said",
        "unheard_ms",
        "unmoved_ms",
    )

    def __init__(self) -> None:
        self.heartbeat: Heartbeat | None = None  # the newest valid record
        self.unmoved_ms = FOREVER_MS  # since it was last seen to move; FOREVER_MS: never seen to
        self.unheard_ms = FOREVER_MS  # since its last datagram
        self.incarnation = 0  # the newest life seen of it anywhere; 0: none
        self.heard_incarnation = 0  # of the last datagram, as the following
        self.heard_sequence = 0
        self.heard_hears = 0
        self.heard_intent = "none"
        self.heard_epoch = 0
        self.acknowledged: frozenset[Position] = frozenset()
        self.gasp: tuple[int, int] | None = None  # incarnation and sequence number of the last datagram of a life
        self.programs: tuple[Announcement, ...] = ()
        self.said: Say | None = None  # the last datagram, as it came


class Observer:
    """The peers of one node and the time that it has spent watching them."""

    def __init__(self, node: int, nodes: int, timing: Timing) -> None:
        self.node = node
        self.peers = [Peer() for _ in range(nodes)]
        self.watched_ms = 0  # on the disk, since the first read
        self._timing = timing
        self._ticked_ms: int | None = None
        self._read_ms: int | None = None
        self._blind_ms = 0
        self._hears = 1 << node

    def tick(self, now_ms: int) -> int:
        """Count the silence on the interconnect up to now; returns the time (ms) that counts since the last tick."""
        gap_ms = self._gap(self._ticked_ms, now_ms, self._timing.heartbeat_ms)
        self._ticked_ms = now_ms
        lately_ms, heard = self._timing.hears_ms, 1 << self.node
        for node, peer in enumerate(self.peers):
            unheard_ms = peer.unheard_ms + gap_ms
            if unheard_ms < lately_ms:
                heard |= 1 << node
            peer.unheard_ms = min(FOREVER_MS, unheard_ms)
        self._hears = heard
        return gap_ms

    def read(self, heartbeats: Sequence[Heartbeat | None], now_ms: int) -> None:
        """Take in the heartbeats of one successful read; None where there is none that can be believed."""
        gap_ms = self._gap(self._read_ms, now_ms, self._timing.disk_heartbeat_ms)
        first = self._read_ms is None
        self._blind_ms = now_ms - self.sighted_ms(now_ms)
        self._read_ms = now_ms
        self.watched_ms += gap_ms
        for node, peer in enumerate(self.peers):
            before, heartbeat = peer.heartbeat, heartbeats[node]
            # Sequence numbers only grow within a life; an older record than the last one is a stale sector and no sign
            # of life. A new life begins them anew if it could not read where the one before had stopped.
            if heartbeat is None or (before is not None and not heartbeat.is_after(before)):
                peer.unmoved_ms = min(FOREVER_MS, peer.unmoved_ms + gap_ms)
                continue
            peer.unmoved_ms = 0 if not first else min(FOREVER_MS, peer.unmoved_ms + gap_ms)
            peer.heartbeat = heartbeat
            peer.incarnation = max(peer.incarnation, heartbeat.incarnation)

    def sighted_ms(self, now_ms: int) -> int:
        """A clock that stands while this node does not see the disk: by it ages what was seen there.

        A gap between two reads counts as it does for silence.
        """
        if self._read_ms is None:
            return now_ms
        passed_ms = now_ms - self._read_ms
        return now_ms - self._blind_ms - (passed_ms - self._gap(self._read_ms, now_ms, self._timing.disk_heartbeat_ms))

    def heard(self, say: Say) -> bool:
        """Take in a datagram; whether it says anything but what that node has said before, its view left out.

        One that was sent before the last one is late and says nothing.
        """
        peer = self.peers[say.node]
        last, incarnation = peer.said, say.incarnation
        if last is not None and (
            incarnation < last.incarnation or (incarnation == last.incarnation and say.sequence < last.sequence)
        ):
            return False
        peer.said = say
        peer.unheard_ms = 0
        self._hears |= 1 << say.node
        peer.heard_sequence = say.sequence
        if (
            last is not None
            and last.incarnation == incarnation
            and last.hears == say.hears
            and last.epoch == say.epoch
            and last.intent == say.intent
            and last.acknowledged == say.acknowledged
            and last.programs == say.programs
            and last.levels == say.levels
            and peer.gasp is None
            and not say.gasp
        ):
            return False
        peer.incarnation = max(peer.incarnation, incarnation)
        peer.heard_incarnation = incarnation
        peer.heard_hears = say.hears
        peer.heard_intent = say.intent
        peer.heard_epoch = say.epoch
        peer.acknowledged = frozenset(say.acknowledged)
        peer.programs = say.programs
        if say.gasp:
            peer.gasp = (say.incarnation, say.sequence)
        elif peer.gasp is not None and (say.incarnation, say.sequence) > peer.gasp:
            peer.gasp = None  # it says something after its last word: that was not true
        return True

    def hears(self) -> int:
        """Bit mask of the nodes heard lately, this one included."""
        return self._hears

    def moves(self, node: int) -> bool:
        """Whether its heartbeat on the disk was seen to move lately."""
        return node == self.node or self.peers[node].unmoved_ms < self._timing.hears_ms

    def start_watching(self, node: int) -> None:
        """It has become a member: its silence counts from now on, not from when it was first not heard."""
        peer = self.peers[node]
        peer.unheard_ms = min(peer.unheard_ms, self._timing.hears_ms)
        peer.unmoved_ms = min(peer.unmoved_ms, self._timing.hears_ms)

    def all_is_well(self, members: Sequence[int], mask: int) -> bool:
        """Whether all members move on the disk and everybody hears everybody, and nobody has gasped. mask: the same."""
        lately_ms = self._timing.hears_ms
        for node in members:
            peer = self.peers[node]
            if node != self.node and (
                peer.unmoved_ms >= lately_ms
                or peer.gasp is not None
                or peer.heartbeat is None
                or mask & ~peer.heartbeat.hears
            ):
                return False
        return not mask & ~self._hears

    def silence(self, node: int) -> tuple[str, int] | None:
        """Where and for how long (ms) a member has been silent for so long that it is suspect; None if it is not."""
        peer = self.peers[node]
        for where, silent_ms in (("interconnect", peer.unheard_ms), ("disk", peer.unmoved_ms)):
            if silent_ms >= self._timing.death_ms:
                return where, silent_ms
        return None

    def replaced(self, node: int, incarnation: int) -> bool:
        """Whether a later life of another node was seen or heard: that one is dead, whatever the time (spec S4.10)."""
        return node != self.node and self.peers[node].incarnation > incarnation

    def gasped(self, node: int, incarnation: int) -> bool:
        """Whether that very life of a node has said that it ends."""
        gasp = self.peers[node].gasp
        return gasp is not None and gasp[0] == incarnation

    def shows_life(self, node: int, incarnation: int) -> bool:
        """Whether that very life of a node was seen or heard within death_ms."""
        peer = self.peers[node]
        death_ms = self._timing.death_ms
        seen = peer.heartbeat is not None and peer.heartbeat.incarnation == incarnation and peer.unmoved_ms < death_ms
        return seen or (peer.heard_incarnation == incarnation and peer.unheard_ms < death_ms)

    def _gap(self, before_ms: int | None, now_ms: int, period_ms: int) -> int:
        if before_ms is None:
            return 0
        return max(0, min(now_ms - before_ms, GAP_PERIODS_MAX * period_ms))
