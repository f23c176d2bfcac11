"""Blocks taken from, and given back to, the allocation groups."""

from __future__ import annotations

import errno

from guestd.dlm.modes import Mode
from guestd.sfs import bitmap
from guestd.sfs.block import Kind
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.journal import drop_range
from guestd.sfs.keys import GROUP
from guestd.sfs.operation import CommitFirst

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from guestd.sfs.keys import Key
    from guestd.sfs.operation import Operation
    from guestd.tasks.steps import Task


def allocate(operation: Operation, count: int, goal: int) -> Task[tuple[int, int]]:
    """Blocks in a row: the first, and how many, 1 to count. goal: the best first one. Raises FsError (ENOSPC)."""
    place = operation.place
    for group in _order(operation, goal):
        found = yield from _allocate_in(operation, group, count, goal)
        if found is not None:
            place.full.pop(group, None)
            return found
        place.full[group] = None
    if place.journal.pends and operation.patient:
        raise CommitFirst
    raise FsError(errno.ENOSPC, "no block is free")


def _order(operation: Operation, goal: int) -> Iterator[int]:
    """The group of the goal if this node has it anyhow; then its own part of the groups; those last that were full."""
    place, superblock = operation.place, operation.superblock
    near: list[int] = []
    if superblock.is_usable(goal):
        group = superblock.group_of(goal)
        guard = place.guards.find((GROUP, group))
        if guard is not None and guard.mode is Mode.EX:
            near = [group]
            if group not in place.full:
                yield group  # nearly always there is room: the others need not be looked for
    count = superblock.groups
    first = place.slot * count // superblock.slots
    order = [*near, *[(first + step) % count for step in range(count)]]
    yield from dict.fromkeys(group for group in order if group not in place.full)
    yield from dict.fromkeys(group for group in order if group in place.full)


def _allocate_in(operation: Operation, group: int, count: int, goal: int) -> Task[tuple[int, int] | None]:
    used = yield from _bits(operation, group)
    start = operation.superblock.group_start(group)
    taken = used | operation.place.journal.pending(group)
    for _, first, length in operation.freed:
        if operation.superblock.group_of(first) == group:
            taken |= bitmap.mask(first - start, length)
    wanted = goal - start if operation.superblock.group_of(goal) == group else 0
    found = bitmap.free_run(taken, max(0, wanted), count)
    if found is None:
        return None
    _save(operation, group, used | bitmap.mask(*found))
    return start + found[0], found[1]


def free(operation: Operation, key: Key, first: int, count: int) -> Task[None]:
    """Give blocks of one group back. key: the lock that guarded them."""
    group = operation.superblock.group_of(first)
    used = yield from _bits(operation, group)
    bits = bitmap.mask(first - operation.superblock.group_start(group), count)
    if used & bits != bits:
        raise Damaged(f"blocks {first} to {first + count - 1} belong to inode {key[1]} and are marked as free")
    _save(operation, group, used & ~bits)
    operation.freed.append((key, first, count))
    drop_range(operation.changed, first, count)
    operation.pages.drop(first, count)
    operation.at_merge.append(lambda: operation.place.full.pop(group, None))


def _bits(operation: Operation, group: int) -> Task[int]:
    superblock = operation.superblock
    guard = yield from operation.guard((GROUP, group), Mode.EX)
    body = yield from operation.read((GROUP, group), Kind.BITMAP, superblock.group_start(group))
    known = guard.bits
    if known is None or known[0] is not body:
        known = guard.bits = (body, bitmap.decode(group, superblock.group_size(group), body))
    return known[1]


def _save(operation: Operation, group: int, used: int) -> None:
    start = operation.superblock.group_start(group)
    body = operation.write((GROUP, group), Kind.BITMAP, start, bitmap.encode(group, used))
    operation.cached((GROUP, group)).bits = (body, used)
