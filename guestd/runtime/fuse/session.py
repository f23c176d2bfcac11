"""One mounted file system: what libfuse calls becomes a request (guestd.sfs.requests), an answer goes back to libfuse.

Nothing blocks, and no request waits for another: the descriptor is read only when something is there, and a request
stays with libfuse, by its number here, until somebody has an answer. What a request means is the file system's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from ctypes import byref

from guestd.runtime.fuse import library as fuse
from guestd.runtime.fuse.receiver import WRITE_SIZE_MAX, Receiver
from guestd.runtime.fuse.replies import Replies
from guestd.sfs import answers
from guestd.sfs import requests as ask
from guestd.sfs.requests import LAST_BYTE, NO_ANSWER, FileRequest, LockKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.sfs.answers import Reply
    from guestd.sfs.requests import Request

# Requests per turn of the loop: heartbeats come between.
REQUESTS_AT_ONCE = 16
LARGE = 64 << 10  # a write of that much ends the turn: who made it seldom has another one there, and the disk can begin
FORGET_TRIES_MAX = 100
FORGET_PERIOD_S = 0.0002  # the program that holds it up has its answer, and needs the processor only
# allow_other: for every user of the node; default_permissions: the kernel checks them, by the attributes.
OPTIONS = "allow_other,default_permissions,fsname={name},subtype=sfs"
WANTED = (
    fuse.CAP_ASYNC_READ
    | fuse.CAP_POSIX_LOCKS
    | fuse.CAP_FLOCK_LOCKS
    | fuse.CAP_AUTO_INVAL_DATA
    | fuse.CAP_PARALLEL_DIROPS
)

_SET_MODE, _SET_UID, _SET_GID, _SET_SIZE, _SET_ATIME, _SET_MTIME = (1 << bit for bit in range(6))  # fuse_lowlevel.h
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2  # linux/fs.h
_FLOCK_NONBLOCK = 4  # asm-generic/fcntl.h, as what follows
_FLOCK_KINDS = {1: LockKind.SHARED, 2: LockKind.EXCLUSIVE, 8: LockKind.NONE}
_RANGE_KINDS = (LockKind.SHARED, LockKind.EXCLUSIVE, LockKind.NONE)


class Session:
    """Mounted from the moment it is made until `close`, or until somebody unmounts it."""

    def __init__(self, point: str, name: str) -> None:
        """name: what `df` and /proc/self/mounts show as the device. Raises OSError."""
        self._library = fuse.load()
        self._replies = Replies(self._library)
        self._given: list[FileRequest] = []
        self._references: dict[int, int] = {}  # inode -> how many answers that name it the kernel has not forgotten
        self._late: dict[int, None] = {}  # inodes whose attributes are still to be forgotten
        self._out: dict[int, tuple[int, Request]] = {}  # number -> libfuse's request, and what was asked
        self._numbered = NO_ANSWER
        self._bug: BaseException | None = None
        self._interrupted = fuse.INTERRUPTED(self._guarded(self._interrupt))
        self._operations = fuse.Operations()  # libfuse copies it, but the functions in it must stay
        for operation, kind in fuse.OPERATIONS:
            if kind is not fuse.Pointer:
                own = getattr(self, f"_{operation}")
                setattr(self._operations, operation, fuse.callback(operation, self._guarded(own)))
        words = (ctypes.c_char_p * 3)(b"guestd", b"-o", os.fsencode(OPTIONS.format(name=name)))
        arguments = fuse.Arguments(3, words, 0)
        size = ctypes.sizeof(fuse.Operations)
        self._session = self._library.fuse_session_new(byref(arguments), byref(self._operations), size, None)
        if not self._session:
            raise OSError(errno.EINVAL, "libfuse takes none of our options")
        if self._library.fuse_session_mount(self._session, os.fsencode(point)) != 0:
            self._library.fuse_session_destroy(self._session)
            raise OSError(errno.ENODEV, f"cannot mount {point}; libfuse has said why")
        self._fd: int = self._library.fuse_session_fd(self._session)
        os.set_blocking(self._fd, False)
        self._receiver = Receiver(self._fd)

    def fileno(self) -> int:
        """Readable when the kernel has requests; -1 when the mount has gone."""
        return self._fd

    @property
    def has_more(self) -> bool:
        """Whether `take` has something to give, whatever the descriptor says."""
        return bool(self._given)

    def take(self) -> list[FileRequest]:
        """The next requests, in their order; the last one ever is Unmounted."""
        self._receive()
        given, self._given = self._given, []
        return given

    def _receive(self) -> None:
        for _ in range(REQUESTS_AT_ONCE if self._fd >= 0 else 0):
            try:
                if not self._receiver.receive():
                    break
            except OSError:
                self.close()
                break
            self._library.fuse_session_process_buf(self._session, byref(self._receiver.request))
            if self._bug is not None:
                raise self._bug
            if self._receiver.size >= LARGE:
                break

    def answer(self, number: int, reply: Reply) -> None:
        """To the request with that number, which ends with it. Nothing happens if the mount has gone."""
        request, asked = self._out.pop(number, (0, None))
        if asked is None:
            return
        self._replies.send(request, asked, reply)
        if isinstance(reply, (answers.Entry, answers.Created)):
            entry = reply if isinstance(reply, answers.Entry) else reply.entry
            inode = entry.attributes.inode
            self._references[inode] = self._references.get(inode, 0) + 1

    def changed(self, inode: int) -> None:
        """The kernel forgets what it keeps of the inode's attributes. Never waits for a program.

        T=0: an answer that names a new inode is sent, with attributes to keep. T=1: they are to be forgotten; the
        kernel knows no such inode, since the program that waits for the answer has not run yet. T=2: it runs, and they
        are kept. Hence again, until the kernel knows the inode. What is on its way to an inode that the kernel knows
        already does no harm: it compares versions. A program that gets no processor for that long must not hold
        heartbeats up: then it is `forget_again` that makes it forgotten.
        """
        for _ in range(FORGET_TRIES_MAX):
            if self._forgets(inode):
                return
            self._receive()  # or it has forgotten the inode, and says so in a request that has not been taken
            time.sleep(FORGET_PERIOD_S)
        self._late[inode] = None

    def forget_again(self) -> None:
        """Try once more what `changed` could not make forgotten. To be called every now and then."""
        for inode in list(self._late):
            if self._forgets(inode):
                del self._late[inode]

    def close(self) -> None:
        """Unmount at once, whoever still has files open; they get errors from then on."""
        if self._fd < 0:
            return
        self._fd = -1
        self._out.clear()
        # In this order: what waits for an answer must get its error before the mount is taken away.
        self._library.fuse_session_unmount(self._session)
        self._give(NO_ANSWER, ask.Unmounted())

    # -- inner workings

    def _forgets(self, inode: int) -> bool:
        """Whether the kernel keeps nothing of it any more; False: it may be about to."""
        if self._fd < 0:
            return True
        done = self._library.fuse_lowlevel_notify_inval_inode(self._session, inode, -1, 0)
        return bool(done != -errno.ENOENT or inode not in self._references)

    def _guarded(self, operation: Callable[..., None]) -> Callable[..., None]:
        """An exception that goes up into libfuse would be printed and forgotten: it is ours, and `take` raises it."""

        def call(*arguments: Any) -> None:
            try:
                operation(*arguments)
            except BaseException as why:  # noqa: BLE001
                self._bug = why

        return call

    def _give(self, number: int, request: Request) -> None:
        self._given.append(FileRequest(number, time.time_ns(), request))

    def _ask(self, libfuse_request: int, request: Request) -> None:
        self._numbered = number = self._numbered + 1
        self._out[number] = libfuse_request, request
        self._given.append(FileRequest(number, time.time_ns(), request))
        self._library.fuse_req_interrupt_func(libfuse_request, self._interrupted, number)

    def _interrupt(self, _request: int, number: int) -> None:
        """Called by libfuse, while it hands on what the kernel says; never after the answer."""
        if number in self._out:
            self._give(NO_ANSWER, ask.Interrupt(number))

    def _caller(self, request: int) -> tuple[int, int]:
        context = self._library.fuse_req_ctx(request).contents
        return context.uid, context.gid

    # -- what libfuse calls: names, order and types of the arguments are those of struct fuse_lowlevel_ops

    def _init(self, _userdata: int | None, connection: Any) -> None:
        asked = connection.contents
        asked.want = asked.capable & WANTED
        asked.max_write = WRITE_SIZE_MAX

    def _lookup(self, request: int, directory: int, name: bytes) -> None:
        self._ask(request, ask.Lookup(directory, name))

    def _forget(self, request: int, inode: int, count: int) -> None:
        left = self._references.pop(inode, 0) - count
        if left > 0:
            self._references[inode] = left
        self._give(NO_ANSWER, ask.Forget(inode, count))
        self._library.fuse_reply_none(request)

    def _getattr(self, request: int, inode: int, _info: Any) -> None:
        self._ask(request, ask.GetAttributes(inode))

    def _setattr(self, request: int, inode: int, attributes: Any, which: int, info: Any) -> None:
        wanted = attributes.contents  # the present time too is filled in, where that is what was asked for
        self._ask(
            request,
            ask.SetAttributes(
                inode,
                info.contents.fh if info else None,
                wanted.st_mode & 0o7777 if which & _SET_MODE else None,
                wanted.st_uid if which & _SET_UID else None,
                wanted.st_gid if which & _SET_GID else None,
                wanted.st_size if which & _SET_SIZE else None,
                _nanoseconds(wanted.st_atimespec) if which & _SET_ATIME else None,
                _nanoseconds(wanted.st_mtimespec) if which & _SET_MTIME else None,
            ),
        )

    def _readlink(self, request: int, inode: int) -> None:
        self._ask(request, ask.ReadLink(inode))

    def _mknod(self, request: int, directory: int, name: bytes, mode: int, device: int) -> None:
        self._ask(request, ask.MakeNode(directory, name, mode, *self._caller(request), device))

    def _mkdir(self, request: int, directory: int, name: bytes, mode: int) -> None:
        self._ask(request, ask.MakeDirectory(directory, name, mode & 0o7777, *self._caller(request)))

    def _unlink(self, request: int, directory: int, name: bytes) -> None:
        self._ask(request, ask.Unlink(directory, name))

    def _rmdir(self, request: int, directory: int, name: bytes) -> None:
        self._ask(request, ask.RemoveDirectory(directory, name))

    def _symlink(self, request: int, target: bytes, directory: int, name: bytes) -> None:
        self._ask(request, ask.SymbolicLink(directory, name, *self._caller(request), target))

    def _rename(self, request: int, directory: int, name: bytes, to_directory: int, to_name: bytes, flags: int) -> None:
        if flags not in (0, _RENAME_NOREPLACE, _RENAME_EXCHANGE):
            self._library.fuse_reply_err(request, errno.EINVAL)
            return
        no_replace, exchange = flags == _RENAME_NOREPLACE, flags == _RENAME_EXCHANGE
        self._ask(request, ask.Rename(directory, name, to_directory, to_name, no_replace, exchange))

    def _link(self, request: int, inode: int, directory: int, name: bytes) -> None:
        self._ask(request, ask.Link(inode, directory, name))

    def _create(self, request: int, directory: int, name: bytes, mode: int, info: Any) -> None:
        flags = info.contents.flags
        exclusive, truncate = bool(flags & os.O_EXCL), bool(flags & os.O_TRUNC)
        caller = self._caller(request)
        self._ask(request, ask.Create(directory, name, mode & 0o7777, *caller, _writes(flags), exclusive, truncate))

    def _open(self, request: int, inode: int, info: Any) -> None:
        self._ask(request, ask.Open(inode, _writes(info.contents.flags)))

    def _read(self, request: int, inode: int, size: int, offset: int, info: Any) -> None:
        self._ask(request, ask.Read(inode, info.contents.fh, offset, size))

    def _write(self, request: int, inode: int, _data: int, size: int, offset: int, info: Any) -> None:
        about, data = info.contents, self._receiver.written(size)
        # With direct_io the kernel leaves O_SYNC to us; its bits contain those of O_DSYNC.
        append, durable = bool(about.flags & os.O_APPEND), bool(about.flags & os.O_DSYNC)
        self._ask(request, ask.Write(inode, about.fh, offset, data, append, durable))

    def _flush(self, request: int, inode: int, info: Any) -> None:
        about = info.contents
        self._ask(request, ask.Flush(inode, about.fh, about.lock_owner))

    def _release(self, request: int, inode: int, info: Any) -> None:
        about = info.contents
        self._ask(request, ask.Release(inode, about.fh, about.lock_owner if about.flock_release else None))

    def _fsync(self, request: int, inode: int, data_only: int, info: Any) -> None:
        self._ask(request, ask.Synchronize(inode, info.contents.fh, bool(data_only)))

    def _opendir(self, request: int, inode: int, _info: Any) -> None:
        self._ask(request, ask.OpenDirectory(inode))

    def _readdir(self, request: int, inode: int, size: int, position: int, info: Any) -> None:
        self._ask(request, ask.ReadDirectory(inode, info.contents.fh, position, size))

    def _releasedir(self, request: int, inode: int, info: Any) -> None:
        self._ask(request, ask.ReleaseDirectory(inode, info.contents.fh))

    def _fsyncdir(self, request: int, inode: int, data_only: int, info: Any) -> None:
        self._ask(request, ask.SynchronizeDirectory(inode, info.contents.fh, bool(data_only)))

    def _statfs(self, request: int, _inode: int) -> None:
        self._ask(request, ask.FileSystemStatistics())

    def _getlk(self, request: int, inode: int, info: Any, lock: Any) -> None:
        about, wanted = info.contents, lock.contents
        kind = _RANGE_KINDS[wanted.l_type]
        place = wanted.l_start, _last(wanted)
        self._ask(request, ask.QueryRange(inode, about.fh, about.lock_owner, wanted.l_pid, *place, kind))

    def _setlk(self, request: int, inode: int, info: Any, lock: Any, wait: int) -> None:
        about, wanted = info.contents, lock.contents
        kind = _RANGE_KINDS[wanted.l_type]
        place = wanted.l_start, _last(wanted)
        self._ask(request, ask.LockRange(inode, about.fh, about.lock_owner, wanted.l_pid, *place, kind, bool(wait)))

    def _flock(self, request: int, inode: int, info: Any, operation: int) -> None:
        about = info.contents
        kind = _FLOCK_KINDS[operation & ~_FLOCK_NONBLOCK]
        self._ask(request, ask.LockWhole(inode, about.fh, about.lock_owner, kind, not operation & _FLOCK_NONBLOCK))


def _nanoseconds(spec: Any) -> int:
    seconds: int = spec.tv_sec
    return seconds * 1_000_000_000 + int(spec.tv_nsec)


def _writes(flags: int) -> bool:
    return flags & os.O_ACCMODE != os.O_RDONLY


def _last(lock: Any) -> int:
    """The last byte of a struct flock, whose length 0 means "to the end"."""
    return int(lock.l_start + lock.l_len - 1) if lock.l_len else LAST_BYTE
