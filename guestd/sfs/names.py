"""Entries of directories, as one operation sees and changes them.

What is in a directory is kept as an index while its lock is held. It tells where an entry is, or where there may be
room for one; what is changed is always the block itself.
"""

from __future__ import annotations

import errno

from guestd.dlm.modes import Mode
from guestd.sfs import directory, extents
from guestd.sfs.block import BLOCK_SIZE, Kind
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.keys import INODE
from guestd.sfs.space import allocate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.directory import Entry
    from guestd.sfs.inode import Inode
    from guestd.sfs.operation import Operation
    from guestd.tasks.steps import Task


class Index:
    """Of one directory."""

    __slots__ = ("blocks", "names", "rooms")

    def __init__(self) -> None:
        self.names: dict[bytes, tuple[int, int, int]] = {}  # inode, type, place of the block
        self.blocks: list[int] = []  # on the volume
        self.rooms: list[int] = []  # bytes that are free in each


def check(name: bytes) -> None:
    """Raises FsError for what no file can be called."""
    if len(name) > directory.NAME_SIZE_MAX:
        raise FsError(errno.ENAMETOOLONG, f"{len(name)} bytes (legal: {directory.NAME_SIZE_MAX})")
    if not directory.is_name(name):
        raise FsError(errno.ENOENT if not name else errno.EINVAL, f"the name {name!r}")


def open_directory(operation: Operation, number: int, mode: Mode) -> Task[Inode]:
    """A directory that has not been removed. Raises FsError (ENOTDIR, ENOENT)."""
    inode = yield from operation.live(number, mode)
    if not inode.is_directory:
        raise FsError(errno.ENOTDIR, f"inode {number}")
    if not inode.nlink:
        raise FsError(errno.ENOENT, f"directory {number} has been removed")
    return inode


def index_of(operation: Operation, inode: Inode) -> Task[Index]:
    """All entries. It does not show what this operation has changed. Raises Damaged."""
    guard = yield from operation.guard((INODE, inode.number), Mode.PR)
    if guard.index is not None:
        return guard.index
    index = Index()
    count = inode.size // BLOCK_SIZE
    for _, at, length in (yield from extents.find(operation, inode, 0, count)) if count else []:
        if at is None:
            raise Damaged(f"directory {inode.number} has a hole")
        yield from operation.load((INODE, inode.number), Kind.DIRECTORY, at, length)
        index.blocks += range(at, at + length)
    for place, block in enumerate(index.blocks):
        entries = yield from _entries(operation, inode, block)
        for name, number, kind in entries:
            if name in index.names:
                raise Damaged(f"directory {inode.number} has two entries {name!r}")
            index.names[name] = (number, kind, place)
        index.rooms.append(_room(entries))
    guard.index = index
    return index


def find(operation: Operation, inode: Inode, name: bytes) -> Task[tuple[int, int] | None]:
    """The inode and the type of that entry, before this operation."""
    index = yield from index_of(operation, inode)
    found = index.names.get(name)
    return None if found is None else found[:2]


def add(operation: Operation, inode: Inode, name: bytes, target: int, kind: int, now: int) -> Task[None]:
    """A new entry. Raises FsError (ENOSPC)."""
    index = yield from index_of(operation, inode)
    need = directory.size_of(name)
    for place in range(len(index.rooms)):
        if index.rooms[place] >= need:
            entries = yield from _entries(operation, inode, index.blocks[place])
            if _room(entries) >= need:
                entries = [*entries, (name, target, kind)]
                _save(operation, inode, index.blocks[place], place, entries, now)
                _will_lead(operation, index, name, (target, kind, place))
                return
    count = inode.size // BLOCK_SIZE
    goal = yield from extents.last(operation, inode, count)
    block, _ = yield from allocate(operation, 1, goal if goal is not None else inode.number + 1)
    yield from extents.insert(operation, inode, (count, block, 1))
    inode.size += BLOCK_SIZE

    def merged() -> None:
        index.blocks.append(block)
        index.rooms.append(0)
        index.names[name] = (target, kind, count)

    operation.at_merge.append(merged)
    _save(operation, inode, block, count, [(name, target, kind)], now)


def remove(operation: Operation, inode: Inode, name: bytes, now: int) -> Task[None]:
    """Take an entry out that is there."""
    index = yield from index_of(operation, inode)
    place = index.names[name][2]
    entries = yield from _entries(operation, inode, index.blocks[place])
    kept = [entry for entry in entries if entry[0] != name]
    _save(operation, inode, index.blocks[place], place, kept, now)
    operation.at_merge.append(lambda: index.names.__delitem__(name))


def replace(operation: Operation, inode: Inode, name: bytes, target: int, kind: int, now: int) -> Task[None]:
    """Let an entry that is there lead to another inode."""
    index = yield from index_of(operation, inode)
    place = index.names[name][2]
    entries = yield from _entries(operation, inode, index.blocks[place])
    entries = [(name, target, kind) if entry[0] == name else entry for entry in entries]
    _save(operation, inode, index.blocks[place], place, entries, now)
    _will_lead(operation, index, name, (target, kind, place))


def _will_lead(operation: Operation, index: Index, name: bytes, to: tuple[int, int, int]) -> None:
    operation.at_merge.append(lambda: index.names.update({name: to}))


def _entries(operation: Operation, inode: Inode, block: int) -> Task[list[Entry]]:
    body = yield from operation.read((INODE, inode.number), Kind.DIRECTORY, block)
    return directory.decode(operation.superblock, inode.number, block, body)


def _room(entries: list[Entry]) -> int:
    return directory.ROOM - sum(directory.size_of(name) for name, _, _ in entries)


def _save(operation: Operation, inode: Inode, block: int, place: int, entries: list[Entry], now: int) -> None:
    index = operation.cached((INODE, inode.number)).index
    assert index is not None, "it has been made"
    operation.write((INODE, inode.number), Kind.DIRECTORY, block, directory.encode(inode.number, entries))
    room = _room(entries)

    def merged() -> None:
        index.rooms[place] = room

    operation.at_merge.append(merged)
    inode.mtime = inode.ctime = now
    operation.touch(inode)
