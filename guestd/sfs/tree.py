"""Operations on names: create, link, unlink, rename. Each is the body of one `Operation`."""

from __future__ import annotations

import errno
import stat

from guestd.dlm.modes import Mode
from guestd.sfs import names
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.inode import LINKS_MAX, SYMLINK_SIZE_MAX, TYPES, Inode, number_of
from guestd.sfs.keys import INODE, RENAME
from guestd.sfs.lifetimes import drop_name
from guestd.sfs.space import allocate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.operation import Operation
    from guestd.tasks.steps import Task

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


def look_up(operation: Operation, parent: int, name: bytes) -> Task[Inode]:
    """The inode of that name. Raises FsError (ENOENT, ENOTDIR, ENAMETOOLONG)."""
    if name not in (b".", b".."):
        names.check(name)
    directory = yield from operation.live(parent, Mode.PR)
    if not directory.is_directory:
        raise FsError(errno.ENOTDIR, f"inode {parent}")
    if name == b".":
        return directory
    if name == b"..":
        above = yield from _above(operation, directory.parent)
        return above
    found = yield from names.find(operation, directory, name)
    if found is None:
        raise FsError(errno.ENOENT, repr(name))
    inode = yield from _target(operation, directory, found, Mode.PR)
    return inode


def _target(operation: Operation, directory: Inode, found: tuple[int, int], mode: Mode) -> Task[Inode]:
    """The inode that an entry of that directory leads to. found: its identity and type. Raises Damaged."""
    identity, kind = found
    inode = yield from operation.inode(number_of(identity), mode)
    where = f"an entry of directory {directory.number} leads to inode {inode.number}"
    if not inode.mode or inode.identity != identity:
        raise Damaged(f"{where}, which has been deleted")
    if stat.S_IFMT(inode.mode) >> 12 != kind:
        raise Damaged(f"{where}, which is of another type")
    if inode.is_directory and (inode.parent != directory.identity or inode.number == operation.superblock.root):
        raise Damaged(f"{where}, which is in another directory")
    return inode


def _above(operation: Operation, identity: int) -> Task[Inode]:
    """The directory that another one is in. Raises Damaged."""
    inode = yield from operation.inode(number_of(identity), Mode.PR)
    if not inode.mode or inode.identity != identity or not inode.is_directory:
        raise Damaged(f"a directory says that it is in inode {inode.number}, which is none")
    return inode


def create(
    operation: Operation,
    parent: int,
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    now: int,
    *,
    rdev: int = 0,
    target: bytes = b"",
) -> Task[Inode]:
    """A new inode of whatever type. Raises FsError (EEXIST, ENOSPC, EMLINK)."""
    names.check(name)
    if stat.S_IFMT(mode) not in TYPES:
        raise FsError(errno.EINVAL, f"the mode {mode:o}")
    if stat.S_ISLNK(mode) and not 1 <= len(target) <= SYMLINK_SIZE_MAX:
        number = errno.ENAMETOOLONG if target else errno.ENOENT
        raise FsError(number, f"a symbolic link of {len(target)} bytes (legal: {SYMLINK_SIZE_MAX})")
    directory = yield from names.open_directory(operation, parent, Mode.EX)
    if (yield from names.find(operation, directory, name)) is not None:
        raise FsError(errno.EEXIST, repr(name))
    if directory.mode & stat.S_ISGID:  # all in it is its group's, as on other file systems of Linux
        gid = directory.gid
        mode |= stat.S_ISGID if stat.S_ISDIR(mode) else 0
    block, _ = yield from allocate(operation, 1, directory.number + 1)
    yield from operation.guard((INODE, block), Mode.EX)
    inode = Inode(block, mode, uid & 0xFFFFFFFF, gid & 0xFFFFFFFF, now)
    inode.nlink = 1
    inode.generation = operation.place.next_generation()
    inode.rdev = rdev
    if inode.is_symlink:
        inode.target, inode.size = target, len(target)
    if inode.is_directory:
        inode.nlink, inode.parent = 2, parent
        _add_directory(directory)
    operation.add(inode)
    yield from names.add(operation, directory, name, inode.identity, stat.S_IFMT(mode) >> 12, now)
    return inode


def _add_directory(directory: Inode) -> None:
    if directory.nlink >= LINKS_MAX:
        raise FsError(errno.EMLINK, f"directory {directory.number} has {directory.nlink - 2} directories")
    directory.nlink += 1


def _lose_directory(directory: Inode) -> None:
    if directory.nlink < 3:
        raise Damaged(f"directory {directory.number} has a directory, and says that it has none")
    directory.nlink -= 1


def link(operation: Operation, number: int, parent: int, name: bytes, now: int) -> Task[Inode]:
    """One name more. Raises FsError (EPERM for a directory, EEXIST, EMLINK, ENOENT for what has no name)."""
    names.check(name)
    directory = yield from names.open_directory(operation, parent, Mode.EX)
    if (yield from names.find(operation, directory, name)) is not None:
        raise FsError(errno.EEXIST, repr(name))
    inode = yield from operation.live(number, Mode.EX)
    if inode.is_directory:
        raise FsError(errno.EPERM, f"inode {number} is a directory")
    if not inode.nlink:
        raise FsError(errno.ENOENT, f"inode {number} has been deleted")
    if inode.nlink >= LINKS_MAX:
        raise FsError(errno.EMLINK, f"inode {number} has {inode.nlink} names")
    inode.nlink += 1
    inode.ctime = now
    operation.touch(inode)
    yield from names.add(operation, directory, name, number, stat.S_IFMT(inode.mode) >> 12, now)
    return inode


def unlink(operation: Operation, parent: int, name: bytes, now: int) -> Task[None]:
    """Take a name that is no directory's. Raises FsError (ENOENT, EISDIR)."""
    names.check(name)
    directory = yield from names.open_directory(operation, parent, Mode.EX)
    found = yield from names.find(operation, directory, name)
    if found is None:
        raise FsError(errno.ENOENT, repr(name))
    inode = yield from _target(operation, directory, found, Mode.EX)
    if inode.is_directory:
        raise FsError(errno.EISDIR, repr(name))
    yield from names.remove(operation, directory, name, now)
    yield from drop_name(operation, inode, now)


def rmdir(operation: Operation, parent: int, name: bytes, now: int) -> Task[None]:
    """Remove an empty directory. Raises FsError (ENOENT, ENOTDIR, ENOTEMPTY)."""
    names.check(name)
    directory = yield from names.open_directory(operation, parent, Mode.EX)
    found = yield from names.find(operation, directory, name)
    if found is None:
        raise FsError(errno.ENOENT, repr(name))
    inode = yield from _target(operation, directory, found, Mode.EX)
    if not inode.is_directory:
        raise FsError(errno.ENOTDIR, repr(name))
    yield from _check_empty(operation, inode)
    yield from names.remove(operation, directory, name, now)
    _lose_directory(directory)
    yield from drop_name(operation, inode, now)


def _check_empty(operation: Operation, inode: Inode) -> Task[None]:
    index = yield from names.index_of(operation, inode)
    if index.names:
        raise FsError(errno.ENOTEMPTY, f"directory {inode.number} has {len(index.names)} entries")


def rename(
    operation: Operation, old_parent: int, old: bytes, new_parent: int, new: bytes, flags: int, now: int
) -> Task[None]:
    """As renameat2, with RENAME_NOREPLACE and RENAME_EXCHANGE. Raises FsError."""
    names.check(old)
    names.check(new)
    if flags not in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
        raise FsError(errno.EINVAL, f"flags {flags}")
    source = yield from names.open_directory(operation, old_parent, Mode.EX)
    goal = yield from names.open_directory(operation, new_parent, Mode.EX)
    found = yield from names.find(operation, source, old)
    if found is None:
        raise FsError(errno.ENOENT, repr(old))
    there = yield from names.find(operation, goal, new)
    if there is not None and flags == RENAME_NOREPLACE:
        raise FsError(errno.EEXIST, repr(new))
    if there is None and flags == RENAME_EXCHANGE:
        raise FsError(errno.ENOENT, repr(new))
    inode = yield from _target(operation, source, found, Mode.EX)
    other = None if there is None else (yield from _target(operation, goal, there, Mode.EX))
    yield from _check_circle(operation, inode, old_parent, new_parent)
    if other is not None and flags == RENAME_EXCHANGE:
        yield from _check_circle(operation, other, new_parent, old_parent)
    if other is inode:
        return
    if other is not None and flags == RENAME_EXCHANGE:
        yield from _exchange(operation, (source, old, inode), (goal, new, other), now)
    else:
        if other is not None:
            yield from _replace(operation, goal, new, inode, other, now)
        yield from _move(operation, (source, old, inode), (goal, new), now, replaces=other is not None)


def _move(
    operation: Operation, what: tuple[Inode, bytes, Inode], to: tuple[Inode, bytes], now: int, *, replaces: bool
) -> Task[None]:
    (source, old, inode), (goal, new) = what, to
    kind = stat.S_IFMT(inode.mode) >> 12
    yield from names.remove(operation, source, old, now)
    if replaces:
        yield from names.replace(operation, goal, new, inode.identity, kind, now)
    else:
        yield from names.add(operation, goal, new, inode.identity, kind, now)
    _changes_directory(inode, source, goal)
    inode.ctime = now
    operation.touch(inode)


def _changes_directory(inode: Inode, source: Inode, goal: Inode) -> None:
    if inode.is_directory and source is not goal:
        _lose_directory(source)
        _add_directory(goal)
        inode.parent = goal.identity


def _replace(operation: Operation, goal: Inode, new: bytes, inode: Inode, other: Inode, now: int) -> Task[None]:
    """What had the new name loses it. Raises FsError (EISDIR, ENOTDIR, ENOTEMPTY)."""
    if other.is_directory:
        if not inode.is_directory:
            raise FsError(errno.EISDIR, repr(new))
        yield from _check_empty(operation, other)
        _lose_directory(goal)
    elif inode.is_directory:
        raise FsError(errno.ENOTDIR, repr(new))
    yield from drop_name(operation, other, now)


def _exchange(
    operation: Operation, one: tuple[Inode, bytes, Inode], two: tuple[Inode, bytes, Inode], now: int
) -> Task[None]:
    (source, old, inode), (goal, new, other) = one, two
    yield from names.replace(operation, source, old, other.identity, stat.S_IFMT(other.mode) >> 12, now)
    yield from names.replace(operation, goal, new, inode.identity, stat.S_IFMT(inode.mode) >> 12, now)
    _changes_directory(inode, source, goal)
    _changes_directory(other, goal, source)
    for each in (inode, other):
        each.ctime = now
        operation.touch(each)


def _check_circle(operation: Operation, inode: Inode, old_parent: int, new_parent: int) -> Task[None]:
    """A directory must not come to lie within itself. Raises FsError (EINVAL)."""
    if not inode.is_directory or old_parent == new_parent:
        return
    yield from operation.guard((RENAME, 0), Mode.EX)  # so that nobody moves any directory above
    above = new_parent
    seen: dict[int, None] = {}
    while above != operation.superblock.root:
        if above == inode.identity:
            raise FsError(errno.EINVAL, f"directory {inode.number} into itself")
        if above in seen:
            raise Damaged(f"directory {above} lies within itself")
        seen[above] = None
        directory = yield from _above(operation, above)
        above = directory.parent
