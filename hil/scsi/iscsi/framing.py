"""Bytes from a connection to PDUs, in one buffer of fixed size and without copying: memory cannot grow."""

from __future__ import annotations

import struct
from typing import Final

from hil.scsi.iscsi.pdu import HEADER_BYTES

DATA_SEGMENT_BYTES_MAX: Final = 256 * 1024  # what we declare as MaxRecvDataSegmentLength; libiscsi's own value too
_AHS_BYTES_MAX: Final = 255 * 4
DIGEST_BYTES: Final = 4
_ONE_PDU: Final = HEADER_BYTES + _AHS_BYTES_MAX + DIGEST_BYTES + DATA_SEGMENT_BYTES_MAX + DIGEST_BYTES
LENGTHS: Final = struct.Struct(">I")


class MalformedPdu(Exception):
    """What came cannot be a PDU for us; where the next one begins is unknown, so the connection has to end."""


class DataDigestError(Exception):
    """The PDU whose header is at ``offset`` of the buffer came whole, but with other data than was sent.

    Only with data digests. The next PDU can be asked for.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class Framing:
    """Receive buffer of one connection: bytes are received into ``space()``, ``next()`` gives PDUs in place.

    What ``next`` returned is valid until ``space`` is called again.
    """

    __slots__ = ("_end", "_start", "_view", "buffer", "data_bytes_max")

    def __init__(self, data_bytes_max: int = DATA_SEGMENT_BYTES_MAX) -> None:
        # Room for the longest PDU and as much again as a socket gives at once, else full-size PDUs came in two pieces.
        self.buffer = bytearray(_ONE_PDU + 64 * 1024)
        self._view = memoryview(self.buffer)
        self.data_bytes_max = data_bytes_max
        self._start = 0
        self._end = 0

    def space(self) -> memoryview:
        """Where to receive to; never empty as long as the caller took every PDU that ``next`` gives."""
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self.buffer) - self._start < _ONE_PDU:
            rest = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, len(rest)
            self.buffer[: len(rest)] = rest
        return self._view[self._end :]

    def received(self, count: int) -> None:
        """``count`` bytes were put where ``space`` said."""
        self._end += count

    def unread(self) -> bytes:
        """What was received behind the last PDU that ``next`` gave."""
        return bytes(self._view[self._start : self._end])

    def next(self) -> tuple[int, memoryview | bytes] | None:
        """Offset of the next header in ``buffer``, and its data segment; None until a whole PDU is there.

        Raises ``MalformedPdu`` as soon as a header announces more data than was declared legal.
        """
        start = self._start
        have = self._end - start
        if have < HEADER_BYTES:
            return None
        (lengths,) = LENGTHS.unpack_from(self.buffer, start + 4)
        if not lengths:
            self._start = start + HEADER_BYTES
            return start, b""
        length = lengths & 0xFFFFFF
        if length > self.data_bytes_max:
            raise self.too_long(length)
        ahs = (lengths >> 24) * 4
        total = HEADER_BYTES + ahs + (length + 3 & ~3)
        if have < total:
            return None
        self._start = start + total
        first = start + HEADER_BYTES + ahs
        return start, self._view[first : first + length]

    def too_long(self, length: int) -> MalformedPdu:
        """What to raise for a data segment of so many bytes."""
        return MalformedPdu(f"data segment of {length} bytes: at most {self.data_bytes_max} are legal")
