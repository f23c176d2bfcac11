"""The ordered channels of one node, one for each other member that is open.

A channel belongs to two lives. What comes from another life of the peer, or is meant for another life of this node, is
dropped unacknowledged; so is what comes before this side has opened the channel, and it is sent again. After `close`
nothing of that life is delivered any more, however long it was under way (spec S2.6, S6).
"""

from __future__ import annotations

from guestd.interconnect import segment
from guestd.interconnect.channel import Channel
from guestd.interconnect.segment import BadSegment, Segment


class Channels:
    """Of one life of one node."""

    def __init__(self, cluster_id: bytes, node: int, incarnation: int) -> None:
        self._cluster_id = cluster_id
        self._node = node
        self._incarnation = incarnation
        self._channels: dict[int, tuple[int, Channel]] = {}  # peer -> its incarnation, and the channel
        self._due: dict[int, None] = {}  # peers for whom something may have to go out; most inputs concern one
        self.bad_count = 0

    def open(self, peer: int, incarnation: int) -> None:
        """From now on that life is listened to. A channel to an earlier life is given up; to the same one it stays."""
        if peer != self._node and self.incarnation_of(peer) != incarnation:
            self._channels[peer] = incarnation, Channel()

    def close(self, peer: int) -> None:
        """Nothing is delivered to that peer, or from it, any more."""
        self._channels.pop(peer, None)
        self._due.pop(peer, None)

    def incarnation_of(self, peer: int) -> int | None:
        """The life that the open channel leads to."""
        return self._channels[peer][0] if peer in self._channels else None

    def send(self, peer: int, message: bytes) -> None:
        """Goes out with the next `flush`; to nobody if there is no channel. Raises ValueError if it is too long."""
        if peer in self._channels:
            self._channels[peer][1].send(message)
            self._due[peer] = None

    def heard(self, payload: bytes) -> tuple[int, list[bytes]]:
        """A datagram has come in: the peer, and its messages that are due, in their order. Rubbish is counted."""
        try:
            said = segment.decode(self._cluster_id, payload)
        except BadSegment:
            self.bad_count += 1
            return -1, []
        meant = (said.receiver, said.receiver_incarnation) == (self._node, self._incarnation)
        if not meant or self.incarnation_of(said.sender) != said.incarnation:
            return said.sender, []
        self._due[said.sender] = None  # an acknowledgement, or what that of the peer has made room for
        return said.sender, self._channels[said.sender][1].receive(said.first, said.expected, said.messages)

    def tick(self) -> bool:
        """A heartbeat period has passed; whether something was lost: it goes out with the next `flush`."""
        again = False
        for peer, (_, channel) in self._channels.items():
            if channel.tick():
                again = True
                self._due[peer] = None
        return again

    def flush(self) -> list[tuple[int, bytes]]:
        """The datagrams that are due, each with the peer that it is for. To be called after each input."""
        due: list[tuple[int, bytes]] = []
        if not self._due:
            return due
        peers, self._due = sorted(self._due), {}
        for peer in peers:
            incarnation, channel = self._channels[peer]
            for first, messages in channel.segments():
                said = Segment(self._node, peer, self._incarnation, incarnation, first, channel.expected, messages)
                due.append((peer, segment.encode(self._cluster_id, said)))
        return due
