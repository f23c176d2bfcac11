"""A TCP connection without sockets: an asyncio transport that behaves as the selector loop's does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
    from collections.abc import Callable

_HIGH_WATER_BYTES: Final = 64 * 1024  # asyncio's own
# A batch of 1 MiB, one more read of 1 MiB in pieces of 512 bytes with a header each, and what is healed meanwhile.
UNREAD_BYTES_MAX: Final = 5 * 1024 * 1024 // 2
_PIECES_MAX: Final = 100  # that many pieces of one batch are cut, the rest comes as it is


class Wire(asyncio.Transport):
    """``take`` gets what the target sends, as soon as the initiator reads.

    ``before_write`` and ``before_close`` look at what the protocol should have done by then.

    ``stalled``: the initiator does not read, so what is written stays in the buffer, and the protocol is told to pause.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BufferedProtocol | asyncio.Protocol,
        take: Callable[[bytes], None],
        addresses: dict[str, tuple[str, int]],
    ) -> None:
        super().__init__(addresses)
        self.protocol = protocol
        self.stalled = False
        self.lost = False
        self.inbox = bytearray()
        self.before_close: Callable[[], None] = lambda: None
        self.before_write: Callable[[], None] = lambda: None
        self._loop = loop
        self._take = take
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._reading = True
        self._closing = False
        self._closed_by_us = False
        protocol.connection_made(self)

    # ---- what the protocol calls

    def write(self, data: Any) -> None:
        """Only before ``close`` and ``abort``: nothing written later would arrive."""
        if self._closed_by_us:
            raise Wrong("written to a connection that was closed")
        if self._closing:
            return  # the protocol cannot know yet
        self.before_write()
        if not self.stalled:
            self._take(bytes(data))
            return
        self._buffer.append(bytes(data))
        self._buffered += len(data)
        if self._buffered > UNREAD_BYTES_MAX:
            raise Wrong(f"{self._buffered} bytes wait for an initiator that does not read")
        if self._buffered > _HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self.protocol.pause_writing()

    def close(self) -> None:
        """What is buffered still goes out."""
        self._closed_by_us = True
        if self._closing:
            return
        self.before_close()
        self._closing = True
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        """What is buffered is dropped."""
        self._closing = self._closed_by_us = True
        self._buffer.clear()
        self._lose(None)

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return self._buffered

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        if self.inbox:
            self._loop.call_soon(self.pump)

    # ---- what the initiator and its network do

    def send(self, data: bytes, cuts: tuple[int, ...]) -> None:
        """To the target, in pieces of at most these sizes in turn; what it does not read yet stays in ``inbox``."""
        self.inbox += data
        self.pump(cuts)

    def pump(self, cuts: tuple[int, ...] = (2**30,)) -> None:
        """As long as the target reads."""
        rounds = 0
        while self.inbox and self._reading and not self._closing:
            self._deliver(cuts[rounds % len(cuts)] if rounds < _PIECES_MAX else 2**30)
            rounds += 1
        if self._closing:
            self.inbox.clear()

    def _deliver(self, count_max: int) -> None:
        assert isinstance(self.protocol, asyncio.BufferedProtocol)
        space = memoryview(self.protocol.get_buffer(-1))
        count = min(len(space), len(self.inbox), count_max)
        if not count:
            raise Wrong("nowhere to receive to")
        space[:count] = self.inbox[:count]
        del self.inbox[:count]
        self.protocol.buffer_updated(count)

    def read(self) -> None:
        """The initiator reads again."""
        self.stalled = False
        while self._buffer:
            waiting, self._buffer, self._buffered = self._buffer, [], 0
            for piece in waiting:
                self._take(piece)
            if self._paused:
                self._paused = False
                self.protocol.resume_writing()
        if self._closing:
            self._lose(None)

    def end_of_file(self) -> None:
        """The initiator will send nothing more."""
        if not self._closing and not self.protocol.eof_received():
            self._closing = True
            if not self._buffer:
                self._lose(None)

    def reset(self) -> None:
        """The connection is gone, all at once."""
        self._closing = True
        self._buffer.clear()
        self._lose(ConnectionResetError("reset by the initiator"))

    def _lose(self, error: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            self._loop.call_soon(self.protocol.connection_lost, error)
