"""Header and data digests (RFC 7143 11.2.3, 13.1): checked in what comes, put into what goes.

CRC32C over the header with its additional segments, or over the data segment with its padding; sent with the least
significant byte first, as in the examples of RFC 7143 appendix A.4. No data segment, no data digest. In force from the
first PDU of the full feature phase.

Only what has them imports this: the library takes a while to load, and a connection without digests pays nothing.
"""

from __future__ import annotations

import struct
from typing import Final

from crc32c import crc32c

from hil.scsi.iscsi.framing import DIGEST_BYTES, LENGTHS, DataDigestError, Framing, MalformedPdu
from hil.scsi.iscsi.pdu import HEADER_BYTES

_DIGEST: Final = struct.Struct("<I")


class DigestFraming(Framing):
    """Framing of a connection with header digests, data digests, or both; ``unread`` came before they were in force."""

    __slots__ = ("_data", "_header_digest_bytes")

    def __init__(self, *, header: bool, data: bool, unread: bytes = b"") -> None:
        super().__init__()
        self._header_digest_bytes = DIGEST_BYTES if header else 0
        self._data = data
        self.space()[: len(unread)] = unread
        self.received(len(unread))

    def next(self) -> tuple[int, memoryview | bytes] | None:
        """As without digests. Raises ``DataDigestError``, and ``MalformedPdu`` for a header that is not what was sent.

        A header digest error ends the connection (RFC 7143 7.8): the lengths in the header may be what is damaged.
        """
        start, view = self._start, self._view
        if self._end - start < HEADER_BYTES:
            return None
        (lengths,) = LENGTHS.unpack_from(view, start + 4)
        header_end = start + HEADER_BYTES + (lengths >> 24) * 4
        first = header_end + self._header_digest_bytes
        if self._end < first:
            return None
        if self._header_digest_bytes and not _matches(view, start, header_end):
            raise MalformedPdu("header digest error")
        length = lengths & 0xFFFFFF
        if length > self.data_bytes_max:
            raise self.too_long(length)
        if not length:
            self._start = first
            return start, b""
        end = first + (length + 3 & ~3)
        whole = end + DIGEST_BYTES if self._data else end
        if self._end < whole:
            return None
        self._start = whole
        if self._data and not _matches(view, first, end):
            raise DataDigestError(start)
        return start, view[first : first + length]


def _matches(view: memoryview, start: int, end: int) -> bool:
    """Whether the digest at ``end`` is that of what lies before it."""
    (digest,) = _DIGEST.unpack_from(view, end)
    return bool(crc32c(view[start:end]) == digest)


class DigestSeal:
    """Puts digests into what a session sends."""

    def __init__(self, *, header: bool, data: bool) -> None:
        self._header = header
        self._data = data

    def seal(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        """``pieces`` with digests between them: whole PDUs, each with its header at the beginning of a piece.

        We send no additional header segments, so every header has 48 bytes.
        """
        sealed: list[bytes | memoryview] = []
        left = crc = 0  # of the data segment with its padding: bytes to come, and the digest of those that came
        for piece in pieces:
            rest: bytes | memoryview = piece
            if not left:
                header = piece[:HEADER_BYTES]
                sealed.append(header)
                if self._header:
                    sealed.append(_DIGEST.pack(crc32c(header)))
                left, crc = (LENGTHS.unpack_from(header, 4)[0] & 0xFFFFFF) + 3 & ~3, 0
                if len(piece) == HEADER_BYTES:
                    continue
                rest = memoryview(piece)[HEADER_BYTES:]
            sealed.append(rest)
            left -= len(rest)
            if self._data:
                crc = crc32c(rest, crc)
                if not left:
                    sealed.append(_DIGEST.pack(crc))
        return sealed
