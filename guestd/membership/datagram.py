"""The one kind of datagram on the interconnect: a node's whole say, sent every heartbeat and at once on every change.

State, not messages: a lost or repeated one needs no care, the next says everything again. The master's datagram carries
the view as well, and only after its commit record is on the disk.

The last one of a life is its gasp: a node that panics, or has left, says so if it still can, and the others need not
wait for its silence. It may be lost, come late or be a lie: nothing rests on it but the moment at which the others act,
for whoever is forced out because of it is forced out as safely as any other.

    offset  size
    0       4     magic "HILD"
    4       1     version of the format, 2
    5       1     sender
    6       1     bit 0: a view follows the acknowledgements; bit 1: the gasp, this life says nothing after it
    7       1     number of acknowledgements
    8       16    cluster id
    24      4     incarnation of the sender
    28      8     sequence number within that incarnation
    36      8     bit mask of nodes heard lately
    44      1     intent
    45      4     epoch of the newest view that the sender knows
    49      8 x n acknowledgements: subject (1), incarnation (4), state (1), level (1), barrier (1)
    ...           subsystems registered at run time, levels that the master has agreed to (`announcement.py`)
    ...           view (`wire.py`)
    -4      4     CRC-32 of everything before
"""

from __future__ import annotations

import struct
import zlib

from guestd.core.value import Value
from guestd.membership import announcement, wire
from guestd.membership.announcement import Announcement
from guestd.membership.position import Position
from guestd.membership.records import INTENTS
from guestd.membership.sector import CRC_RESIDUE
from guestd.membership.view import View
from guestd.transition.levels import Level

TYPE_CHECKING = False
if TYPE_CHECKING:
    Rest = tuple[tuple[Position, ...], tuple[Announcement, ...], tuple[Level, ...], View | None]

MAGIC = b"HILD"
VERSION = 2
VIEW_FLAG, GASP_FLAG = 1, 2

_HEAD = struct.Struct("<4sBBBB16sIQQBI")
_RESTS_KEPT = 128
_POSITION = struct.Struct("<BIBBB")
_CRC = struct.Struct("<I")
_HEAD_SIZE: int = _HEAD.size
_CRC_SIZE: int = _CRC.size


class Say(Value):
    """What a node says."""

    node: int
    incarnation: int
    sequence: int
    hears: int
    intent: str
    acknowledged: tuple[Position, ...]
    view: View | None
    epoch: int = 0  # of the newest view that it knows
    programs: tuple[Announcement, ...] = ()
    levels: tuple[Level, ...] = ()  # that the master has agreed to in this epoch; names are not told
    gasp: bool = False  # the last say of this life


_rests: dict[tuple[int, int, int, bytes], Rest] = {}  # what follows the head is mostly what its node said before


class BadDatagram(ValueError):
    """Bytes that are not a datagram of this cluster; says why."""


def encode(cluster_id: bytes, say: Say, last: tuple[Say, bytes] | None = None) -> bytes:
    """At most 1434 bytes, for 64 nodes that are all in transition, with all the programs that there may be.

    last: what the same node said before, and its datagram: if the rest is the same it is not encoded again.
    """
    head = _HEAD.pack(
        MAGIC,
        VERSION,
        say.node,
        (VIEW_FLAG if say.view is not None else 0) | (GASP_FLAG if say.gasp else 0),
        len(say.acknowledged),
        cluster_id,
        say.incarnation,
        say.sequence,
        say.hears,
        INTENTS.index(say.intent),
        say.epoch,
    )
    if last is not None and _says_the_same(say, last[0]):
        framed = head + last[1][_HEAD_SIZE:-_CRC_SIZE]
    else:
        framed = head + _encode_rest(say)
    return framed + _CRC.pack(zlib.crc32(framed))


def _says_the_same(say: Say, other: Say) -> bool:
    """Behind the head."""
    return (
        say.view is other.view
        and say.acknowledged == other.acknowledged
        and say.programs == other.programs
        and say.levels == other.levels
    )


def _encode_rest(say: Say) -> bytes:
    positions = [
        _POSITION.pack(at.subject, at.incarnation, wire.code_of(at.state), at.level, at.barrier)
        for at in say.acknowledged
    ]
    view = b"" if say.view is None else wire.encode_view(say.view)
    registered = announcement.encode_announcements(say.programs) + announcement.encode_levels(say.levels)
    return b"".join([*positions, registered, view])


def decode(cluster_id: bytes, nodes: int, data: bytes) -> Say:
    """Raises BadDatagram."""
    if len(data) < _HEAD_SIZE + _CRC_SIZE:
        raise BadDatagram(f"{len(data)} bytes are too few")
    if zlib.crc32(data) != CRC_RESIDUE:
        raise BadDatagram("the checksum does not match")
    magic, version, node, flags, count, found_id, incarnation, sequence, hears, intent, epoch = _HEAD.unpack_from(data)
    if (magic, version) != (MAGIC, VERSION):
        raise BadDatagram(f"magic {magic!r} version {version} instead of {MAGIC!r} version {VERSION}")
    if found_id != cluster_id:
        raise BadDatagram(f"from the cluster {found_id.hex()}")
    if node >= nodes or intent >= len(INTENTS):
        raise BadDatagram(f"node {node} with intent {intent}")
    positions, programs, levels, view = _rest(nodes, count, flags & VIEW_FLAG, data[_HEAD_SIZE:-_CRC_SIZE])
    gasp = bool(flags & GASP_FLAG)
    return Say(node, incarnation, sequence, hears, INTENTS[intent], positions, view, epoch, programs, levels, gasp)


def _rest(nodes: int, count: int, view_flag: int, data: bytes) -> Rest:
    """What follows the head; the same for the same bytes, and not decoded again then."""
    key = (nodes, count, view_flag, data)
    found = _rests.get(key)
    if found is None:
        found = _decode_rest(*key)
        if len(_rests) >= _RESTS_KEPT:
            _rests.clear()
        _rests[key] = found
    return found


def _decode_rest(nodes: int, count: int, view_flag: int, data: bytes) -> Rest:
    try:
        programs, end = announcement.decode_announcements(data, count * _POSITION.size)
        levels, end = announcement.decode_levels(data, end)
        if len(data) != end + (wire.view_size(nodes) if view_flag else 0):
            raise BadDatagram(f"{len(data)} bytes after the head do not match {count} acknowledgements")
        view = wire.decode_view(data[end:], nodes) if view_flag else None
        positions = tuple(_position(data, index * _POSITION.size) for index in range(count))
    except (KeyError, ValueError, struct.error) as why:
        raise BadDatagram(str(why)) from why
    return positions, programs, levels, view


def _position(data: bytes, offset: int) -> Position:
    subject, incarnation, state, level, barrier = _POSITION.unpack_from(data, offset)
    return Position(subject, incarnation, wire.STATES_BY_CODE[state], level, barrier)
