"""The end of inodes, and who has them open.

A node that has a file open holds a lock below that of the inode in PR. Who takes the last name of an inode asks for
that lock in EX: if it is granted nobody has the file open anywhere, and the inode is deleted in the same operation.
Else it becomes an orphan: it is put on the list of this node's slot, and whoever closes it last deletes it. If nobody
does, because the node with the file died, those who recover look the lists over.
"""

from __future__ import annotations

import errno

from guestd.dlm.modes import Mode
from guestd.sfs import extents, orphans
from guestd.sfs.block import Kind
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.keys import INODE, ORPHANS, name_of, owner_of
from guestd.sfs.space import free
from guestd.tasks.steps import Acquire, Refused, Release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.inode import Inode
    from guestd.sfs.operation import Operation
    from guestd.tasks.steps import Held, Task

OPEN = b"open"


def begin_use(operation: Operation, identity: int) -> Task[None]:
    """This node opens it once more. Raises FsError (ESTALE) if it does not exist any more."""
    inode = yield from operation.live(identity, Mode.PR)
    number = inode.number
    guard = yield from operation.guard((INODE, number), Mode.PR)
    if OPEN not in guard.children:
        held = yield _below(operation, number, guard.number, Mode.PR, noqueue=False)
        guard.children[OPEN] = held.number
    guard.opens += 1


def end_use(operation: Operation, number: int) -> Task[bool]:
    """This node closes it once. Whether it was the last time here and the inode has no name."""
    guard = yield from operation.guard((INODE, number), Mode.PR)
    if guard.opens == 0:
        raise FsError(errno.EBADF, f"inode {number} is not open")
    guard.opens -= 1
    if guard.opens:
        return False
    lock = guard.children.pop(OPEN)
    yield Release(lock)
    inode = yield from operation.inode(number, Mode.PR)
    return inode.orphan_of is not None


def drop_name(operation: Operation, inode: Inode, now: int) -> Task[None]:
    """One name less; of a directory, its only one. The inode is deleted, or becomes an orphan, with its last one."""
    if not inode.nlink:
        raise Damaged(f"inode {inode.number} has a name, and says that it has none")
    inode.nlink = 0 if inode.is_directory else inode.nlink - 1
    inode.ctime = now
    operation.touch(inode)
    if inode.nlink:
        return
    if not (yield from _is_open(operation, inode)):
        yield from _delete(operation, inode)
        return
    slot = operation.place.slot
    listed = yield from _listed(operation, slot)
    if len(listed) == orphans.ORPHANS_MAX:
        raise FsError(errno.ENOSPC, "too many deleted files are still open")
    inode.orphan_of = slot
    _save(operation, slot, [*listed, inode.number])


def reap(operation: Operation, number: int) -> Task[None]:
    """Delete an orphan that nobody has open any more."""
    inode = yield from operation.inode(number, Mode.EX)
    slot = inode.orphan_of
    if slot is None or (yield from _is_open(operation, inode)):
        return
    listed = yield from _listed(operation, slot)
    _save(operation, slot, [one for one in listed if one != number])
    yield from _delete(operation, inode)


def listed_orphans(operation: Operation, slot: int) -> Task[list[int]]:
    """The list of that slot."""
    yield from operation.guard((ORPHANS, slot), Mode.PR)
    body = yield from operation.read((ORPHANS, slot), Kind.ORPHANS, operation.superblock.orphans(slot))
    return orphans.decode(operation.superblock, slot, body)


def _listed(operation: Operation, slot: int) -> Task[list[int]]:
    yield from operation.guard((ORPHANS, slot), Mode.EX)
    found = yield from listed_orphans(operation, slot)
    return found


def _save(operation: Operation, slot: int, listed: list[int]) -> None:
    operation.write((ORPHANS, slot), Kind.ORPHANS, operation.superblock.orphans(slot), orphans.encode(listed))


def _delete(operation: Operation, inode: Inode) -> Task[None]:
    if inode.is_directory or inode.is_regular:
        yield from extents.cut(operation, inode, 0)
    guard = operation.cached((INODE, inode.number))
    operation.at_merge.append(lambda: setattr(guard, "index", None))  # the next inode in this block may be a directory
    inode.mode = inode.nlink = inode.size = 0  # who still knows its number finds that it has been deleted
    inode.orphan_of = None
    inode.target = b""
    operation.touch(inode)
    yield from free(operation, (INODE, inode.number), inode.number, 1)


def _is_open(operation: Operation, inode: Inode) -> Task[bool]:
    """On any node. With the inode's guard in EX nobody can open or close it meanwhile."""
    guard = yield from operation.guard((INODE, inode.number), Mode.EX)
    if guard.opens:
        return True
    try:
        held: Held = yield _below(operation, inode.number, guard.number, Mode.EX, noqueue=True)
    except Refused:
        operation.place.unsure = True  # or it is held back after a death: to be looked at again
        return True
    yield Release(held.number)
    return False


def _below(operation: Operation, number: int, parent: int | None, mode: Mode, *, noqueue: bool) -> Acquire:
    key = (INODE, number)
    name = (name_of(operation.superblock.uuid, key), OPEN)
    return Acquire(owner_of(key), name, mode, parent=parent, noqueue=noqueue)
