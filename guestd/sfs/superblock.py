"""The superblock, block 0: what lies where. Written by `mkfs` and never again.

body    size
0       8     blocks of the file system
8       4     journals: one for each node
12      4     blocks of each journal
16      4     blocks of each allocation group; the last one may be smaller
20      8     number of the root directory's inode: always the first block that can be one

blocks
0                         superblock
1 …                       the journals, each: head, orphans, transaction, then room for the images of its blocks
then                      the allocation groups, each: its bitmap, then inodes, directories, extents and contents
"""

from __future__ import annotations

import struct

from guestd.core.value import Value
from guestd.sfs.block import BODY_SIZE, Kind, seal, unseal, uuid_of
from guestd.sfs.errors import Damaged

SLOTS_MAX = 64
JOURNAL_BLOCKS_MIN = 16
GROUP_BLOCKS_MIN = 8
GROUP_BLOCKS_MAX = (BODY_SIZE - 8) * 8
BEFORE_IMAGES = 3  # head, orphans, transaction
IMAGES_MAX = 252  # as many as the transaction's block has room for

_BODY = struct.Struct("<QIIIQ")


class Superblock(Value):
    """The geometry of one file system. Numbers are of blocks of 4096 bytes."""

    uuid: bytes
    blocks: int
    slots: int
    journal_blocks: int
    group_blocks: int
    root: int

    def encode(self) -> bytes:
        """The whole block."""
        body = _BODY.pack(self.blocks, self.slots, self.journal_blocks, self.group_blocks, self.root)
        return seal(self.uuid, Kind.SUPERBLOCK, 0, body)

    def head(self, slot: int) -> int:
        """The first block of that journal."""
        return 1 + slot * self.journal_blocks

    def orphans(self, slot: int) -> int:
        """The list of orphans of that journal's node."""
        return self.head(slot) + 1

    def transaction(self, slot: int) -> int:
        """Where the transaction is described; the images of its blocks follow."""
        return self.head(slot) + 2

    @property
    def images_max(self) -> int:
        """How many blocks a transaction may change."""
        return min(self.journal_blocks - BEFORE_IMAGES, IMAGES_MAX)

    @property
    def first_group(self) -> int:
        """The first block behind the journals."""
        return 1 + self.slots * self.journal_blocks

    @property
    def groups(self) -> int:
        """How many allocation groups there are."""
        return -(-(self.blocks - self.first_group) // self.group_blocks)

    def group_start(self, group: int) -> int:
        """Its bitmap."""
        return 1 + self.slots * self.journal_blocks + group * self.group_blocks

    def group_size(self, group: int) -> int:
        """Its blocks, with its bitmap."""
        return min(self.group_blocks, self.blocks - self.group_start(group))

    def group_of(self, block: int) -> int:
        """The group in which that block lies."""
        return (block - 1 - self.slots * self.journal_blocks) // self.group_blocks

    def kinds_at(self, block: int) -> tuple[Kind, ...]:
        """What a transaction may change there."""
        if self.is_usable(block):
            return Kind.INODE, Kind.EXTENTS, Kind.DIRECTORY
        if self.first_group <= block < self.blocks:
            return (Kind.BITMAP,)
        slot, place = divmod(block - 1, self.journal_blocks)
        return (Kind.ORPHANS,) if 0 <= slot < self.slots and place == 1 else ()

    def is_usable(self, block: int, count: int = 1) -> bool:
        """Whether these may be an inode or belong to one: in one group, and not its bitmap."""
        behind = block - 1 - self.slots * self.journal_blocks  # the journals
        if behind < 0 or count < 1 or block + count > self.blocks:
            return False
        place = behind % self.group_blocks
        return 0 < place <= self.group_blocks - count


def wrong(found: Superblock) -> str | None:
    """Why there cannot be such a file system."""
    if not 1 <= found.slots <= SLOTS_MAX:
        return f"{found.slots} journals (legal: 1 to {SLOTS_MAX})"
    if found.journal_blocks < JOURNAL_BLOCKS_MIN:
        return f"journals of {found.journal_blocks} blocks (legal: {JOURNAL_BLOCKS_MIN} or more)"
    if not GROUP_BLOCKS_MIN <= found.group_blocks <= GROUP_BLOCKS_MAX:
        return f"groups of {found.group_blocks} blocks (legal: {GROUP_BLOCKS_MIN} to {GROUP_BLOCKS_MAX})"
    if found.blocks < found.first_group + GROUP_BLOCKS_MIN:
        return f"{found.blocks} blocks, of which the journals take {found.first_group}"
    if found.group_size(found.groups - 1) < 2:
        return f"{found.blocks} blocks: the last group has a bitmap only"
    if found.groups + 12 > found.images_max:
        return f"{found.groups} groups, and journals for {found.images_max} blocks (12 more than groups are needed)"
    if found.root != found.first_group + 1:
        return f"the root directory's inode is block {found.root} (legal: {found.first_group + 1}, behind the journals)"
    return None


def decode(block: bytes, blocks: int) -> Superblock:
    """blocks: how many the volume has. Raises Damaged."""
    body = unseal(None, Kind.SUPERBLOCK, 0, block)
    found = Superblock(uuid_of(block), *_BODY.unpack_from(body))
    why = wrong(found)
    if why is not None:
        raise Damaged(f"the superblock is damaged: {why}")
    if found.blocks > blocks:
        raise Damaged(f"the file system has {found.blocks} blocks, the volume only {blocks}")
    return found
