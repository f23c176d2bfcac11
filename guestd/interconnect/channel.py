"""One end of an ordered channel between two lives: what is sent arrives once and in order, however datagrams fare.

Sliding window with cumulative acknowledgements. What is not acknowledged is sent again, from the first such message on,
when RETRY_TICKS ticks have passed without progress, then after twice as many, and so on up to RETRY_TICKS_MAX. What
comes out of order is kept until the gap is filled.

A channel knows no time and gives nothing up: whether the peer is dead is for the membership to say, which closes it.
"""

from __future__ import annotations

from guestd.interconnect.segment import MESSAGE_SIZE_MAX, MESSAGES_MAX, ROOM, size_of

# Messages under way at most. A peer that takes nothing costs memory for what is sent to it, and nothing more.
WINDOW = 512

# A round trip takes far less than the shortest tick, so two ticks of silence are a loss, or a peer that stands still.
RETRY_TICKS = 2
RETRY_TICKS_MAX = 16


class Channel:
    """Mutable; one per open peer."""

    __slots__ = (
        "_acknowledged",
        "_early",
        "_expected",
        "_next",
        "_owes",
        "_patience",
        "_transmitted",
        "_unsent",
        "_waited",
    )

    def __init__(self) -> None:
        self._unsent: dict[int, bytes] = {}  # by number: everything that is not acknowledged
        self._acknowledged = 0  # the peer has all before this one
        self._transmitted = 0  # the next one to be put in a segment
        self._next = 0
        self._expected = 0  # of the peer's
        self._early: dict[int, bytes] = {}
        self._owes = False  # an acknowledgement
        self._waited = 0  # ticks without progress
        self._patience = RETRY_TICKS

    @property
    def idle(self) -> bool:
        """Whether the peer has everything."""
        return not self._unsent

    @property
    def expected(self) -> int:
        """The number of the message that is to come next."""
        return self._expected

    def send(self, message: bytes) -> None:
        """To be taken by `segments`. Raises ValueError for a message that fits in no segment."""
        if len(message) > MESSAGE_SIZE_MAX:
            raise ValueError(f"a message of {len(message)} bytes (legal: at most {MESSAGE_SIZE_MAX})")
        self._unsent[self._next] = message
        self._next += 1

    def receive(self, first: int, expected: int, messages: tuple[bytes, ...]) -> list[bytes]:
        """A segment has come in; returns the messages that are due now, in their order."""
        if self._acknowledged < expected <= self._next:
            for number in range(self._acknowledged, expected):
                del self._unsent[number]
            self._acknowledged = expected
            self._transmitted = max(self._transmitted, expected)
            self._waited, self._patience = 0, RETRY_TICKS
        for number, message in enumerate(messages, first):
            if self._expected <= number < self._expected + WINDOW:
                self._early[number] = message
        self._owes = self._owes or bool(messages)
        due = []
        while self._expected in self._early:
            due.append(self._early.pop(self._expected))
            self._expected += 1
        return due

    def tick(self) -> bool:
        """A heartbeat period has passed; whether something is to be sent again."""
        if self._acknowledged == self._transmitted:
            self._waited = 0
            return False
        self._waited += 1
        if self._waited < self._patience:
            return False
        self._waited = 0
        self._patience = min(2 * self._patience, RETRY_TICKS_MAX)
        self._transmitted = self._acknowledged
        return True

    def segments(self) -> list[tuple[int, tuple[bytes, ...]]]:
        """What is to be transmitted now: (number of the first message, messages), as much as the window admits."""
        taken: list[tuple[int, tuple[bytes, ...]]] = []
        end = min(self._next, self._acknowledged + WINDOW)
        while self._transmitted < end:
            first, room = self._transmitted, ROOM
            messages: list[bytes] = []
            while self._transmitted < end and len(messages) < MESSAGES_MAX:
                message = self._unsent[self._transmitted]
                room -= size_of(message)
                if room < 0:
                    break
                messages.append(message)
                self._transmitted += 1
            taken.append((first, tuple(messages)))
        if self._owes and not taken:
            taken.append((self._transmitted, ()))
        self._owes = False
        return taken
