"""A datagram of the ordered channels: the next messages from one life of a node to one life of another.

Their magic is not that of the membership's own datagrams (`membership/datagram.py`). Who is not meant drops it.

    offset  size
    0       4     magic "HILC"
    4       1     version of the format, 1
    5       1     sender
    6       1     receiver
    7       1     number of messages, 0 for an acknowledgement alone
    8       16    cluster id
    24      4     incarnation of the sender
    28      4     incarnation of the receiver
    32      8     number of the first message
    40      8     number of the message that the sender expects next from the receiver: all before have come in
    48      ...   each message: size (2), then so many bytes
    -4      4     CRC-32 of everything before
"""

from __future__ import annotations

import struct
import zlib

from guestd.core.value import Value
from guestd.membership.sector import CRC_RESIDUE

MAGIC = b"HILC"
VERSION = 1
SIZE_MAX = 1400  # with the headers of IPv4 and UDP it fits in one Ethernet frame of 1500 bytes
MESSAGES_MAX = 255

_HEAD = struct.Struct("<4sBBBB16sIIQQ")
_SIZE = struct.Struct("<H")
_CRC = struct.Struct("<I")
ROOM = SIZE_MAX - _HEAD.size - _CRC.size  # for messages with their sizes
MESSAGE_SIZE_MAX = ROOM - _SIZE.size


class BadSegment(ValueError):
    """Bytes that are not a segment of this cluster; says why."""


class Segment(Value):
    """What one datagram carries."""

    sender: int
    receiver: int
    incarnation: int  # of the sender
    receiver_incarnation: int
    first: int
    expected: int
    messages: tuple[bytes, ...] = ()


def size_of(message: bytes) -> int:
    """Bytes that a message takes of the ROOM of a segment."""
    return _SIZE.size + len(message)


def is_segment(data: bytes) -> bool:
    """Whether these bytes are meant to be a segment, and no other kind of datagram."""
    return data.startswith(MAGIC)


def encode(cluster_id: bytes, segment: Segment) -> bytes:
    """At most SIZE_MAX bytes, if the messages fit in ROOM."""
    parts = [
        _HEAD.pack(
            MAGIC,
            VERSION,
            segment.sender,
            segment.receiver,
            len(segment.messages),
            cluster_id,
            segment.incarnation,
            segment.receiver_incarnation,
            segment.first,
            segment.expected,
        )
    ]
    for message in segment.messages:
        parts += [_SIZE.pack(len(message)), message]
    framed = b"".join(parts)
    return framed + _CRC.pack(zlib.crc32(framed))


def decode(cluster_id: bytes, data: bytes) -> Segment:
    """Raises BadSegment."""
    if len(data) < _HEAD.size + _CRC.size:
        raise BadSegment(f"{len(data)} bytes are too few")
    if zlib.crc32(data) != CRC_RESIDUE:
        raise BadSegment("the checksum does not match")
    magic, version, sender, receiver, count, found_id, own, other, first, expected = _HEAD.unpack_from(data)
    if (magic, version) != (MAGIC, VERSION):
        raise BadSegment(f"magic {magic!r} version {version} instead of {MAGIC!r} version {VERSION}")
    if found_id != cluster_id:
        raise BadSegment(f"from the cluster {found_id.hex()}")
    messages = []
    offset, end = _HEAD.size, len(data) - _CRC.size
    for _ in range(count):
        if offset + _SIZE.size > end:
            raise BadSegment(f"{len(data)} bytes do not hold {count} messages")
        (size,) = _SIZE.unpack_from(data, offset)
        offset += _SIZE.size
        messages.append(data[offset : offset + size])
        offset += size
    if offset != end:
        raise BadSegment(f"{len(data)} bytes do not hold {count} messages")
    return Segment(sender, receiver, own, other, first, expected, tuple(messages))
