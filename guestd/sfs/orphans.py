"""The list of orphans of a slot: inodes that have lost their last name while somebody had them open.

body: how many (4), zero (4), their numbers (8 each).
"""

from __future__ import annotations

import struct

from guestd.sfs.block import BODY_SIZE
from guestd.sfs.errors import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.superblock import Superblock

_HEAD = struct.Struct("<I4x")
ORPHANS_MAX = (BODY_SIZE - _HEAD.size) // 8


def encode(inodes: list[int]) -> bytes:
    """The body."""
    return _HEAD.pack(len(inodes)) + struct.pack(f"<{len(inodes)}Q", *inodes)


def decode(superblock: Superblock, slot: int, body: bytes) -> list[int]:
    """Raises Damaged."""
    (count,) = _HEAD.unpack_from(body)
    found = list(struct.unpack_from(f"<{min(count, ORPHANS_MAX)}Q", body, _HEAD.size))
    if count > ORPHANS_MAX or len(set(found)) != count or not all(superblock.is_usable(inode) for inode in found):
        raise Damaged(f"the orphans of slot {slot}: {count}, {found[:3]} ...")
    return found
