"""Which blocks of an allocation group are in use.

body    size
0       4     number of the group
4       4     free blocks
8       4048  a bit for each block of the group, the lowest first; the bitmap's own is set, those behind the end too
"""

from __future__ import annotations

import struct

from guestd.sfs.block import BODY_SIZE
from guestd.sfs.errors import Damaged

_HEAD = struct.Struct("<II")
_BITS = BODY_SIZE - _HEAD.size


def fresh(size: int) -> int:
    """The bits of a group of that size with nothing in it."""
    return 1 | beyond(size)


def beyond(size: int) -> int:
    """The bits behind the end of a group of that size."""
    return (1 << 8 * _BITS) - (1 << size)


def mask(first: int, count: int) -> int:
    """The bits of so many blocks from there on."""
    return ((1 << count) - 1) << first


def encode(group: int, used: int) -> bytes:
    """The body."""
    return _HEAD.pack(group, 8 * _BITS - used.bit_count()) + used.to_bytes(_BITS, "little")


def decode(group: int, size: int, body: bytes) -> int:
    """The bits as one number. Raises Damaged."""
    found, free = _HEAD.unpack_from(body)
    used = int.from_bytes(body[_HEAD.size :], "little")
    if found != group:
        raise Damaged(f"the bitmap of group {group} says that it is that of group {found}")
    if used & fresh(size) != fresh(size):
        raise Damaged(f"the bitmap of group {group}: blocks that do not exist, or the bitmap itself, are free")
    if free != 8 * _BITS - used.bit_count():
        raise Damaged(f"the bitmap of group {group} has {8 * _BITS - used.bit_count()} free blocks and says {free}")
    return used


def free_run(used: int, goal: int, count: int) -> tuple[int, int] | None:
    """The first free blocks from `goal` on, else from the start: (first, 1 to count). None: all are in use."""
    free = ~used & ((1 << 8 * _BITS) - 1)
    for start in (goal, 0):
        ahead = free >> start
        if ahead:
            skipped = (ahead & -ahead).bit_length() - 1
            ahead >>= skipped
            length = (ahead ^ (ahead + 1)).bit_length() - 1
            return start + skipped, min(count, length)
    return None
