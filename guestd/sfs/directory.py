"""Blocks of directories.

body    size
0       8     inode of the directory
8       2     number of entries
10      2     bytes of the entries
12            entries: identity of the inode (8), type (1, the upper four bits of its mode), size of the name (1), name
The entries "." and ".." are not stored.
"""

from __future__ import annotations

import struct

from guestd.sfs.block import BODY_SIZE
from guestd.sfs.errors import Damaged
from guestd.sfs.inode import TYPES, number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.superblock import Superblock

    Entry = tuple[bytes, int, int]  # name, identity of the inode, type

NAME_SIZE_MAX = 255

_HEAD = struct.Struct("<QHH")
_ENTRY = struct.Struct("<QBB")
ROOM = BODY_SIZE - _HEAD.size


def size_of(name: bytes) -> int:
    """The bytes that its entry takes."""
    return _ENTRY.size + len(name)


def is_name(name: bytes) -> bool:
    """Whether a file may be called that (but for its length)."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def encode(inode: int, entries: list[Entry]) -> bytes:
    """The body."""
    data = b"".join(_ENTRY.pack(number, kind, len(name)) + name for name, number, kind in entries)
    assert len(data) <= ROOM, f"{len(data)} bytes of entries"
    return _HEAD.pack(inode, len(entries), len(data)) + data


def decode(superblock: Superblock, inode: int, number: int, body: bytes) -> list[Entry]:
    """Raises Damaged."""
    owner, count, size = _HEAD.unpack_from(body)
    if owner != inode or size > ROOM:
        raise Damaged(f"block {number} of directory {inode}: {size} bytes of entries of directory {owner}")
    entries = []
    offset, end = _HEAD.size, _HEAD.size + size
    for _ in range(count):
        if offset + _ENTRY.size > end:
            break
        target, kind, length = _ENTRY.unpack_from(body, offset)
        offset += _ENTRY.size
        name = body[offset : offset + length]
        offset += length
        if offset > end or not is_name(name) or kind << 12 not in TYPES or not superblock.is_usable(number_of(target)):
            raise Damaged(f"block {number} of directory {inode}: an entry {name!r} for inode {target}")
        entries.append((name, target, kind))
    if len(entries) != count or offset != end:
        raise Damaged(f"block {number} of directory {inode}: {count} entries do not take {size} bytes")
    return entries
