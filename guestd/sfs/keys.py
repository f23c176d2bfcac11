"""The locks of the file system, and the one order in which operations take them.

A key is (class, number). A lock guards the blocks that this table names; each block is guarded by one lock only.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Key = tuple[int, int]

RENAME = 0  # no block: which directory is in which
INODE = 1  # by number: the inode, its blocks of extents, of a directory, its contents
ORPHANS = 2  # by slot: the list of orphans
GROUP = 3  # by number: the bitmap

MOUNT = 8  # who replays journals before it uses the file system
JOURNAL = 9  # by slot: EX to replay it, PW while its node uses it


def name_of(uuid: bytes, key: Key) -> bytes:
    """The root of the resource's name."""
    return b"sfs" + uuid + bytes([key[0]]) + key[1].to_bytes(8, "big")


def owner_of(key: Key) -> int:
    """Each lock has an owner of its own: the operations take care themselves that they wait in no circle."""
    return 30 << 56 | key[0] << 48 | key[1]
