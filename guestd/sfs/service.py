"""What each request of the mount is in calls of the file system: a task for each kind of request, returning the answer.

    reply = yield from SERVICES[type(request)](desk, number, request, now)

A task raises FsError for what the program is to see. Tasks begin in the order of the requests, and calls of one inode
take their turns; writes that are several calls keep their order here.
"""

from __future__ import annotations

import errno
import stat

from guestd.sfs import answers as say
from guestd.sfs import requests as ask
from guestd.sfs.errors import FsError
from guestd.sfs.file_locks import Call
from guestd.sfs.filesystem import READ, UNLOCK, WRITE
from guestd.sfs.requests import ROOT_INODE, LockKind
from guestd.sfs.tree import RENAME_EXCHANGE, RENAME_NOREPLACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.sfs.answers import Reply
    from guestd.sfs.attributes import Attributes
    from guestd.sfs.filesystem import FileSystem
    from guestd.sfs.visit import Handle, Visit
    from guestd.tasks.steps import Task

_KINDS = {LockKind.SHARED: READ, LockKind.EXCLUSIVE: WRITE, LockKind.NONE: UNLOCK}
_LOCK_KINDS = {READ: LockKind.SHARED, WRITE: LockKind.EXCLUSIVE}
_ENTRY_HEAD = 24  # struct fuse_dirent (linux/fuse.h), and the name after it, filled up to eights


class Desk:
    """Where requests are served: for which mount, on which file system."""

    __slots__ = ("system", "visit")

    def __init__(self, visit: Visit, system: FileSystem) -> None:
        self.visit = visit
        self.system = system

    def inside(self, inode: int) -> int:
        """The identity of the inode that the mount calls so."""
        return self.system.root if inode == ROOT_INODE else inode

    def outside(self, identity: int) -> int:
        """What the mount calls that inode."""
        return ROOT_INODE if identity == self.system.root else identity

    def handle(self, number: int) -> Handle:
        """Raises FsError: EBADF; EIO if it was opened before the file system was mounted anew: its locks are gone."""
        found = self.visit.handles.get(number)
        if found is None:
            raise FsError(errno.EBADF, f"handle {number}")
        if found.system is not self.system:
            raise FsError(errno.EIO, f"handle {number} is of a file system that has been unmounted")
        return found

    def attributes(self, found: Attributes, *, fresh: bool = True) -> say.Attributes:
        """fresh: no other task has run since they were found, so this node's kernel may keep them."""
        number = self.outside(found.inode)
        return say.Attributes(
            number,
            found.mode,
            found.nlink,
            found.uid,
            found.gid,
            found.size,
            found.blocks,
            found.atime,
            found.mtime,
            found.ctime,
            found.rdev,
            keep=fresh and self.system.keep(found.inode, number),
        )

    def entry(self, found: Attributes, *, fresh: bool = True) -> say.Entry:
        return say.Entry(found.generation, self.attributes(found, fresh=fresh))


# -- names


def _look_up(desk: Desk, _: int, request: ask.Lookup, _now: int) -> Task[Reply]:
    found = yield from desk.system.lookup(desk.inside(request.directory), request.name)
    return desk.entry(found)


def _create(desk: Desk, _: int, request: ask.Create, now: int) -> Task[Reply]:
    """Two operations, or three: whoever comes between and takes the name away makes it begin anew."""
    system = desk.system
    while True:
        made = yield from _made(desk, request, now)
        found = made or (yield from _found(desk, request))
        if found is not None and (yield from _opened(system, found.inode)):
            break
    if request.truncate and made is None:
        try:
            found = yield from system.setattr(found.inode, now, size=0)
        except FsError:
            yield from system.release(found.inode)
            raise
    return say.Created(desk.entry(found, fresh=False), desk.visit.open(system, found.inode))


def _made(desk: Desk, request: ask.Create, now: int) -> Task[Attributes | None]:
    """The new file; None: there is something of that name."""
    directory = desk.inside(request.directory)
    try:
        return (yield from desk.system.create(directory, request.name, request.mode, request.uid, request.gid, now))
    except FsError as why:
        if why.errno != errno.EEXIST or request.exclusive:
            raise
    return None


def _found(desk: Desk, request: ask.Create) -> Task[Attributes | None]:
    """The file that is there; None: not any more."""
    try:
        found = yield from desk.system.lookup(desk.inside(request.directory), request.name)
    except FsError as why:
        if why.errno != errno.ENOENT:
            raise
        return None
    _check_can_be_opened(found)
    return found


def _opened(system: FileSystem, inode: int) -> Task[bool]:
    """False: it has been deleted meanwhile."""
    try:
        yield from system.open(inode)
    except FsError as why:
        if why.errno != errno.ESTALE:
            raise
        return False
    return True


def _check_can_be_opened(found: Attributes) -> None:
    """The kernel has found no such name. If it is no file by now it looks again, and does what is right (ESTALE)."""
    if stat.S_ISDIR(found.mode):
        raise FsError(errno.EISDIR)
    if not stat.S_ISREG(found.mode):
        raise FsError(errno.ESTALE)


def _make_node(desk: Desk, _: int, request: ask.MakeNode, now: int) -> Task[Reply]:
    owner = request.uid, request.gid
    directory = desk.inside(request.directory)
    found = yield from desk.system.mknod(directory, request.name, request.mode, *owner, now, request.device)
    return desk.entry(found)


def _make_directory(desk: Desk, _: int, request: ask.MakeDirectory, now: int) -> Task[Reply]:
    owner = request.uid, request.gid
    found = yield from desk.system.mkdir(desk.inside(request.directory), request.name, request.mode, *owner, now)
    return desk.entry(found)


def _symbolic_link(desk: Desk, _: int, request: ask.SymbolicLink, now: int) -> Task[Reply]:
    owner = request.uid, request.gid
    found = yield from desk.system.symlink(desk.inside(request.directory), request.name, request.target, *owner, now)
    return desk.entry(found)


def _read_link(desk: Desk, _: int, request: ask.ReadLink, _now: int) -> Task[Reply]:
    found = yield from desk.system.readlink(desk.inside(request.inode))
    return say.Data(found)


def _link(desk: Desk, _: int, request: ask.Link, now: int) -> Task[Reply]:
    directory = desk.inside(request.directory)
    found = yield from desk.system.link(desk.inside(request.inode), directory, request.name, now)
    return desk.entry(found)


def _unlink(desk: Desk, _: int, request: ask.Unlink, now: int) -> Task[Reply]:
    yield from desk.system.unlink(desk.inside(request.directory), request.name, now)
    return say.Done()


def _remove_directory(desk: Desk, _: int, request: ask.RemoveDirectory, now: int) -> Task[Reply]:
    yield from desk.system.rmdir(desk.inside(request.directory), request.name, now)
    return say.Done()


def _rename(desk: Desk, _: int, request: ask.Rename, now: int) -> Task[Reply]:
    flags = RENAME_NOREPLACE * request.no_replace | RENAME_EXCHANGE * request.exchange
    old, new = desk.inside(request.directory), desk.inside(request.new_directory)
    yield from desk.system.rename(old, request.name, new, request.new_name, flags, now)
    return say.Done()


# -- inodes


def _get_attributes(desk: Desk, _: int, request: ask.GetAttributes, _now: int) -> Task[Reply]:
    found = yield from desk.system.getattr(desk.inside(request.inode))
    return desk.attributes(found)


def _set_attributes(desk: Desk, _: int, request: ask.SetAttributes, now: int) -> Task[Reply]:
    task = desk.system.setattr(
        desk.inside(request.inode),
        now,
        mode=request.mode,
        uid=request.uid,
        gid=request.gid,
        size=request.size,
        atime=request.access_ns,
        mtime=request.modify_ns,
    )
    if request.handle is None:
        found = yield from task
    else:
        found = yield from _in_order(desk.handle(request.handle), task)
    return desk.attributes(found)


def _statistics(desk: Desk, _: int, _request: ask.FileSystemStatistics, _now: int) -> Task[Reply]:
    found = yield from desk.system.statfs()
    # An inode takes a block, so there may be as many as there are blocks.
    return say.Statistics(found.block_size, found.blocks, found.free, found.blocks, found.free, found.name_size_max)


# -- open files and directories


def _open(desk: Desk, _: int, request: ask.Open | ask.OpenDirectory, _now: int) -> Task[Reply]:
    inode = desk.inside(request.inode)
    yield from desk.system.open(inode)
    return say.Opened(desk.visit.open(desk.system, inode))


def _read(desk: Desk, _: int, request: ask.Read, _now: int) -> Task[Reply]:
    handle = desk.handle(request.handle)
    data = yield from desk.system.read(handle.inode, request.offset, request.size)
    return say.Data(data)


def _write(desk: Desk, _: int, request: ask.Write, now: int) -> Task[Reply]:
    handle = desk.handle(request.handle)
    if request.append:
        task = desk.system.append(handle.inode, request.data, now)
    else:
        task = desk.system.write(handle.inode, request.offset, request.data, now)
    size = yield from _in_order(handle, task)
    if request.durable:
        yield from desk.system.fsync(handle.inode)
    return say.Written(size)


def _in_order(handle: Handle, task: Task[Any]) -> Task[Any]:
    yield from handle.writing.take()
    try:
        result = yield from task
    finally:
        handle.writing.give()
    return result


def _flush(desk: Desk, _: int, request: ask.Flush, _now: int) -> Task[Reply]:
    """Comes with each close; most owners have no lock, and then there is nothing to do."""
    inode = desk.handle(request.handle).inode
    if desk.visit.ranges.pop((inode, request.owner), None) is not None:
        yield from desk.system.lock(inode, request.owner, UNLOCK, 0, ask.LAST_BYTE, False)
    return say.Done()


def _synchronize(desk: Desk, _: int, request: ask.Synchronize | ask.SynchronizeDirectory, _now: int) -> Task[Reply]:
    yield from desk.system.fsync(desk.handle(request.handle).inode)
    return say.Done()


def _read_directory(desk: Desk, _: int, request: ask.ReadDirectory, _now: int) -> Task[Reply]:
    """Positions are places in the listing that is made when somebody begins to read: what is added or removed while he
    reads on moves nothing.
    """
    handle = desk.handle(request.handle)
    if handle.listing is None or request.position == 0:
        found = yield from desk.system.readdir(handle.inode)
        handle.listing = tuple(
            say.DirectoryEntry(name, desk.outside(inode), kind << 12, place + 1)
            for place, (name, inode, kind) in enumerate(found)
        )
    left, end = request.size, request.position
    for entry in handle.listing[request.position :]:
        left -= _ENTRY_HEAD + (len(entry.name) + 7) // 8 * 8
        if left < 0:
            break
        end = entry.position
    return say.Entries(handle.listing[request.position : end])


# -- locks


def _lock_range(desk: Desk, number: int, request: ask.LockRange, _now: int) -> Task[Reply]:
    visit, inode = desk.visit, desk.handle(request.handle).inode
    key, holds = (inode, request.owner), (desk.system, request.process)
    if request.kind is LockKind.NONE and key not in visit.ranges:
        return say.Done()
    kind, bytes_ = _KINDS[request.kind], (request.first, request.last)
    call = Call()
    visit.ranges[key] = holds
    yield from _locked(visit, number, desk.system.lock(*key, kind, *bytes_, request.wait, call), call)
    if request.kind is not LockKind.NONE:
        visit.ranges[key] = holds  # a Flush may have come between
    elif bytes_ == (0, ask.LAST_BYTE):
        visit.ranges.pop(key, None)
    return say.Done()


def _locked(visit: Visit, number: int, task: Task[None], call: Call) -> Task[None]:
    """Carry a call out that may wait. Raises FsError."""
    visit.calls[number] = call
    try:
        if not visit.ready.fired:
            # The kernel may give its owners the numbers that it gave in an earlier mount: their locks have to go first.
            yield visit.ready
        yield from task
    except FsError as why:
        if why.errno == errno.EINTR and not call.interrupted:
            raise FsError(errno.ENODEV, "the file system is being unmounted") from why
        raise
    finally:
        del visit.calls[number]


def _query_range(desk: Desk, _: int, request: ask.QueryRange, _now: int) -> Task[Reply]:
    """Who on another node is in the way, nobody knows; nor which of these bytes he has: then it is all of them."""
    system, inode = desk.system, desk.handle(request.handle).inode
    asked = inode, request.owner, _KINDS[request.kind], request.first, request.last
    if (yield from system.test_lock(*asked)):
        return say.RangeHeld(LockKind.NONE)
    here = system.holder(*asked)
    if here is not None:
        owner, kind, first, last = here
        return say.RangeHeld(_LOCK_KINDS[kind], first, last, desk.visit.ranges.get((inode, owner), (None, 0))[1])
    shared = yield from system.test_lock(inode, request.owner, READ, request.first, request.last)
    return say.RangeHeld(LockKind.SHARED if shared else LockKind.EXCLUSIVE, request.first, request.last)


def _lock_whole(desk: Desk, number: int, request: ask.LockWhole, _now: int) -> Task[Reply]:
    visit, inode = desk.visit, desk.handle(request.handle).inode
    key, call = (inode, request.owner), Call()
    visit.wholes[key] = desk.system
    yield from _locked(visit, number, desk.system.flock(*key, _KINDS[request.kind], request.wait, call), call)
    if request.kind is LockKind.NONE:
        visit.wholes.pop(key, None)
    return say.Done()


def _release(desk: Desk, _: int, request: ask.Release | ask.ReleaseDirectory, _now: int) -> Task[Reply]:
    """Nobody waits for it, but the next LockWhole comes after it: calls of one inode take their turns."""
    visit = desk.visit
    handle = desk.handle(request.handle)
    del visit.handles[request.handle]
    owner = request.flock_owner if isinstance(request, ask.Release) else None
    try:
        if owner is not None and visit.wholes.pop((handle.inode, owner), None) is not None:
            yield from desk.system.flock(handle.inode, owner, UNLOCK, False)
    except FsError:
        # No `finally`: a stack that is thrown away closes its tasks, and nothing answers them any more.
        yield from desk.system.release(handle.inode)
        raise
    yield from desk.system.release(handle.inode)
    return say.Done()


SERVICES: dict[type[ask.Request], Callable[[Desk, int, Any, int], Task[Reply]]] = {
    ask.Lookup: _look_up,
    ask.Create: _create,
    ask.MakeNode: _make_node,
    ask.MakeDirectory: _make_directory,
    ask.SymbolicLink: _symbolic_link,
    ask.ReadLink: _read_link,
    ask.Link: _link,
    ask.Unlink: _unlink,
    ask.RemoveDirectory: _remove_directory,
    ask.Rename: _rename,
    ask.GetAttributes: _get_attributes,
    ask.SetAttributes: _set_attributes,
    ask.FileSystemStatistics: _statistics,
    ask.Open: _open,
    ask.Read: _read,
    ask.Write: _write,
    ask.Flush: _flush,
    ask.Release: _release,
    ask.Synchronize: _synchronize,
    ask.OpenDirectory: _open,
    ask.ReadDirectory: _read_directory,
    ask.ReleaseDirectory: _release,
    ask.SynchronizeDirectory: _synchronize,
    ask.LockRange: _lock_range,
    ask.QueryRange: _query_range,
    ask.LockWhole: _lock_whole,
}
"""request -> what carries it out. Forget, Interrupt and Unmounted are of the requests themselves (`server`)."""
