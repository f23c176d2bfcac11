"""Header and data digests of an initiator (RFC 7143 11.2.3): put into what it sends, checked in what it gets."""

from __future__ import annotations

from typing import Final

from crc32c import crc32c

from hil.scsi.iscsi import pdu as p

DIGEST_BYTES: Final = 4


def digest(*pieces: bytes) -> bytes:
    """CRC32C of all of them together, as it is sent."""
    crc = 0
    for piece in pieces:
        crc = crc32c(piece, crc)
    return crc.to_bytes(DIGEST_BYTES, "little")


def seal(raw: bytes, *, header: bool, data: bool) -> bytes:
    """A whole PDU with the digests that were negotiated."""
    end = p.HEADER_BYTES + 4 * raw[4]
    head, rest = raw[:end], raw[end:]
    sealed = head + digest(head) if header else head
    return sealed + rest + digest(rest) if data and rest else sealed + rest
