"""What a node tells the others of the subsystems that registered with it at run time (spec S4.1, S4.12).

Part of every datagram, so an acknowledgement never comes without what was registered when it was given: a master that
moves a transition on knows of every level that the nodes had when they acknowledged where it stands.

    offset  size
    0       1     order
    1       1     bit 7: is notified; bits 0-4: acknowledged barriers of the late joins under way (31: none are)
    2       2     barriers less one: forced-leave in bits 0-3, join in bits 4-7, leave in bits 8-11
    4       1     bytes of the name
    5       n     name

Levels as the master tells them have bytes 0, 2 and 3 of that.
"""

from __future__ import annotations

import struct

from guestd.core.value import Value
from guestd.transition.levels import Level, level

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

NAME_SIZE_MAX = 31  # bytes
PROGRAMS_MAX = 8  # of one node, and
LEVELS_MAX = 40  # of a cluster beside the built-in ones: a datagram is one packet

_NONE = 31
_ACTIVE = 0x80
_PROGRAM = struct.Struct("<BBHB")
_LEVEL = struct.Struct("<BH")
_LEVELS_KEPT = 128
_unpacked_levels: dict[tuple[int, str, int], Level] = {}  # nearly always one of a few


class Announcement(Value):
    """One subsystem that registered at run time."""

    level: Level  # with the subsystem's own name
    active: bool  # the master has agreed, and it is notified; until then it only asks
    caught_up: int | None  # barriers acknowledged of the late joins under way; None: none are under way

    kept = ("encoded",)  # said in every datagram
    if TYPE_CHECKING:  # ClassVar: no field, for the checker
        encoded: ClassVar[bytes]


def encode_announcements(announcements: tuple[Announcement, ...]) -> bytes:
    """At most 36 bytes each, one more for their number."""
    if not announcements:
        return b"\0"
    return b"".join([bytes([len(announcements)]), *map(_encode, announcements)])


def _encode(one: Announcement) -> bytes:
    try:
        return one.encoded
    except AttributeError:
        flags = (_ACTIVE if one.active else 0) | (_NONE if one.caught_up is None else one.caught_up)
        name = one.level.name.encode()
        encoded = _PROGRAM.pack(one.level.order, flags, _packed(one.level), len(name)) + name
        object.__setattr__(one, "encoded", encoded)
        return encoded


def decode_announcements(data: bytes, offset: int) -> tuple[tuple[Announcement, ...], int]:
    """The announcements and where they end. Raises ValueError or struct.error if the bytes are not such."""
    found = []
    count, offset = _byte(data, offset), offset + 1
    for _ in range(count):
        order, flags, barriers, size = _PROGRAM.unpack_from(data, offset)
        offset += _PROGRAM.size + size
        name = data[offset - size : offset].decode()
        progress = flags & 31
        found.append(
            Announcement(
                _unpacked(order, name, barriers), bool(flags & _ACTIVE), None if progress == _NONE else progress
            )
        )
    return tuple(found), offset


def encode_levels(levels: tuple[Level, ...]) -> bytes:
    """3 bytes each, one more for their number. Their names are not told."""
    if not levels:
        return b"\0"
    return bytes([len(levels)]) + b"".join(_LEVEL.pack(one.order, _packed(one)) for one in levels)


def decode_levels(data: bytes, offset: int) -> tuple[tuple[Level, ...], int]:
    """The levels and where they end. Raises ValueError or struct.error if the bytes are not such."""
    count, offset = _byte(data, offset), offset + 1
    found = [_LEVEL.unpack_from(data, offset + index * _LEVEL.size) for index in range(count)]
    levels = tuple(_unpacked(order, "", barriers) for order, barriers in found)
    return levels, offset + count * _LEVEL.size


def _byte(data: bytes, offset: int) -> int:
    if offset >= len(data):
        raise ValueError(f"nothing at offset {offset}")
    return data[offset]


def _packed(one: Level) -> int:
    return sum(count - 1 << 4 * place for place, (_, count) in enumerate(one.barriers))


def _unpacked(order: int, name: str, packed: int) -> Level:
    found = _unpacked_levels.get((order, name, packed))
    if found is None:
        counts = [(packed >> 4 * place & 15) + 1 for place in range(3)]
        found = level(order, name, dict(zip(("forced-leave", "join", "leave"), counts, strict=True)), real=True)
        if len(_unpacked_levels) >= _LEVELS_KEPT:
            _unpacked_levels.clear()
        _unpacked_levels[order, name, packed] = found
    return found
