"""Makes a file system: pure, the blocks that are to be written, in this order.

    for number, block in make(volume.blocks // 8, uuid, slots=8, now=now): …

Everything else on the volume may be as it is: what was there before belongs to another UUID, or is not in use.
"""

from __future__ import annotations

import stat

from guestd.sfs import bitmap, orphans
from guestd.sfs.block import Kind, seal
from guestd.sfs.inode import Inode
from guestd.sfs.journal_form import Head
from guestd.sfs.superblock import GROUP_BLOCKS_MAX, Superblock, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def layout(
    blocks: int, uuid: bytes, *, slots: int, journal_blocks: int | None = None, group_blocks: int | None = None
) -> Superblock:
    """blocks: of 4096 bytes; slots: nodes of the cluster. Raises ValueError, and says why."""
    if journal_blocks is None:
        journal_blocks = max(32, min(256, blocks // (16 * max(1, slots))))
    first_group = 1 + slots * journal_blocks
    if group_blocks is None:  # some for each node, so that nodes seldom meet in one; but not more than a journal takes
        group_blocks = max(64, min(GROUP_BLOCKS_MAX, (blocks - first_group) // (4 * max(1, slots))))
        if (blocks - first_group) // group_blocks > journal_blocks // 2:
            group_blocks = min(GROUP_BLOCKS_MAX, -(-(blocks - first_group) // (journal_blocks // 2)))
    rest = (blocks - first_group) % group_blocks
    if 0 < rest < 2:
        blocks -= rest  # a group needs a block beside its bitmap
    found = Superblock(uuid, blocks, slots, journal_blocks, group_blocks, first_group + 1)
    why = wrong(found)
    if why is not None or len(uuid) != 16:
        raise ValueError(why or f"a UUID of {len(uuid)} bytes")
    return found


def make(superblock: Superblock, now: int) -> Iterator[tuple[int, bytes]]:
    """The number and the contents of each block; the superblock is the last one. now: ns since 1970."""
    uuid = superblock.uuid
    yield 0, bytes(4096)  # no file system until it is complete
    for slot in range(superblock.slots):
        head = superblock.head(slot)
        yield head, seal(uuid, Kind.JOURNAL, head, Head(0, False, 0).encode())
        orphan = superblock.orphans(slot)
        yield orphan, seal(uuid, Kind.ORPHANS, orphan, orphans.encode([]))
        yield superblock.transaction(slot), bytes(4096)
    for group in range(superblock.groups):
        start = superblock.group_start(group)
        used = bitmap.fresh(superblock.group_size(group))
        if group == 0:
            used |= bitmap.mask(superblock.root - start, 1)
        yield start, seal(uuid, Kind.BITMAP, start, bitmap.encode(group, used))
    root = Inode(superblock.root, stat.S_IFDIR | 0o755, 0, 0, now)
    root.nlink, root.parent = 2, superblock.root
    yield superblock.root, seal(uuid, Kind.INODE, superblock.root, root.encode())
    yield 0, superblock.encode()
