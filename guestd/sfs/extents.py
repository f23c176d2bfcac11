"""Where the blocks of one file lie, as one operation sees and changes it.

In the inode itself (one leaf without a block of its own), or in leaves, blocks of extents, each from its first block of
the file up to the next one's. A leaf that is full is split, so a change touches two of them at most.
"""

from __future__ import annotations

import errno

from guestd.dlm.modes import Mode
from guestd.sfs.block import Kind
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.inode import EXTENTS_MAX, LEAF_EXTENTS_MAX, LEAVES_MAX, decode_leaf, encode_leaf
from guestd.sfs.keys import INODE
from guestd.sfs.space import allocate, free

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.inode import Extent, Inode
    from guestd.sfs.operation import Operation
    from guestd.tasks.steps import Task


def _leaf_of(inode: Inode, block: int) -> int:
    """The place of the leaf in which that block of the file is, or would be."""
    low, high = 0, len(inode.leaves)
    while high - low > 1:
        middle = (low + high) // 2
        if inode.leaves[middle][0] <= block:
            low = middle
        else:
            high = middle
    return low


def _load(operation: Operation, inode: Inode, leaf: int) -> Task[list[Extent]]:
    """The extents of that leaf; the inode's own ones where there are no leaves."""
    if not inode.depth or not inode.leaves:
        return inode.extents
    first, number = inode.leaves[leaf]
    body = yield from operation.read((INODE, inode.number), Kind.EXTENTS, number)
    found = decode_leaf(operation.superblock, inode.number, number, body)
    after = inode.leaves[leaf + 1][0] if leaf + 1 < len(inode.leaves) else None
    if found[0][0] < first or (after is not None and found[-1][0] + found[-1][2] > after):
        raise Damaged(f"inode {inode.number}: block {number} of extents has others than those from {first} on")
    return found


def find(operation: Operation, inode: Inode, block: int, count: int) -> Task[list[tuple[int, int | None, int]]]:
    """What lies in these blocks of the file, in order: (block of the file, on the disk or None for a hole, length)."""
    found: list[tuple[int, int | None, int]] = []
    end = block + count
    leaf = _leaf_of(inode, block)
    while block < end:
        for first, at, length in (yield from _load(operation, inode, leaf)):
            if first + length <= block or block >= end:
                continue
            if first > block:
                hole = min(first, end) - block
                found.append((block, None, hole))
                block += hole
            if block < end:
                run = min(first + length, end) - block
                found.append((block, at + block - first, run))
                block += run
        leaf += 1
        if not inode.depth or leaf >= len(inode.leaves):
            break
    if block < end:
        found.append((block, None, end - block))
    return found


def last(operation: Operation, inode: Inode, block: int) -> Task[int | None]:
    """Where the block after the one before `block` would lie best: behind it on the disk."""
    if block == 0:
        return None
    found = yield from find(operation, inode, block - 1, 1)
    at = found[0][1]
    return None if at is None else at + 1


def insert(operation: Operation, inode: Inode, extent: Extent) -> Task[None]:
    """New blocks where there was a hole. Raises FsError."""
    leaf = _leaf_of(inode, extent[0])
    extents = list((yield from _load(operation, inode, leaf)))
    place = sum(first < extent[0] for first, _, _ in extents)
    before = extents[place - 1] if place else None
    if before is not None and before[0] + before[2] == extent[0] and before[1] + before[2] == extent[1]:
        extents[place - 1] = (before[0], before[1], before[2] + extent[2])  # in one group: between two is a bitmap
    else:
        extents.insert(place, extent)
    inode.blocks += extent[2]
    yield from _store(operation, inode, leaf, extents)


def _store(operation: Operation, inode: Inode, leaf: int, extents: list[Extent]) -> Task[None]:
    """Save the extents of a leaf; split it if they are too many."""
    operation.touch(inode)
    key = (INODE, inode.number)
    if not inode.depth:
        if len(extents) <= EXTENTS_MAX:
            inode.extents = extents
            return
        inode.depth, inode.extents = 1, []
        half = len(extents) // 2
        inode.leaves = [(0, (yield from _new_leaf(operation, inode, extents[:half])))]
        inode.leaves.append((extents[half][0], (yield from _new_leaf(operation, inode, extents[half:]))))
        return
    if len(extents) > LEAF_EXTENTS_MAX:
        if len(inode.leaves) == LEAVES_MAX:
            raise FsError(errno.EFBIG, f"inode {inode.number} is in too many pieces")
        # Behind the last leaf there will be more, so it stays full; else both get half.
        is_last = leaf == len(inode.leaves) - 1
        half = len(extents) - 1 if is_last else len(extents) // 2
        number = yield from _new_leaf(operation, inode, extents[half:])
        inode.leaves.insert(leaf + 1, (extents[half][0], number))
        extents = extents[:half]
    number = inode.leaves[leaf][1]
    operation.write(key, Kind.EXTENTS, number, encode_leaf(inode.number, extents))


def _new_leaf(operation: Operation, inode: Inode, extents: list[Extent]) -> Task[int]:
    number, _ = yield from allocate(operation, 1, inode.number)
    inode.blocks += 1
    operation.write((INODE, inode.number), Kind.EXTENTS, number, encode_leaf(inode.number, extents))
    return number


def cut(operation: Operation, inode: Inode, end: int) -> Task[None]:
    """Give back all blocks of the file from `end` on. Raises FsError."""
    key = (INODE, inode.number)
    operation.touch(inode)
    yield from operation.guard(key, Mode.EX)
    if not inode.depth:
        inode.extents = yield from _cut(operation, inode, inode.extents, end)
        return
    while inode.leaves:
        leaf = len(inode.leaves) - 1
        extents = yield from _load(operation, inode, leaf)
        kept = yield from _cut(operation, inode, extents, end)
        if kept:
            if kept != extents:
                operation.write(key, Kind.EXTENTS, inode.leaves[leaf][1], encode_leaf(inode.number, kept))
            return
        _, number = inode.leaves.pop()
        yield from free(operation, key, number, 1)
        _lose(inode, 1)
    inode.depth = 0


def _cut(operation: Operation, inode: Inode, extents: list[Extent], end: int) -> Task[list[Extent]]:
    kept = []
    for first, at, length in extents:
        keep = max(0, min(length, end - first))
        if keep:
            kept.append((first, at, keep))
        if keep < length:
            yield from free(operation, (INODE, inode.number), at + keep, length - keep)
            _lose(inode, length - keep)
    return kept


def _lose(inode: Inode, count: int) -> None:
    if inode.blocks < count:
        raise Damaged(f"inode {inode.number} has more blocks than it says")
    inode.blocks -= count
