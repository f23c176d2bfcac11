"""Answers (guestd.sfs.answers) as libfuse wants them."""

from __future__ import annotations

import ctypes
from ctypes import byref

from guestd.runtime.fuse import library as fuse
from guestd.sfs import answers
from guestd.sfs import requests as ask
from guestd.sfs.requests import LAST_BYTE, LockKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.sfs.answers import Attributes, Entry, Reply
    from guestd.sfs.requests import Request

# How long the kernel keeps what it is told, in seconds. Names: not at all, another node may change them the moment
# after; so too attributes, but for those that it will be told to forget (docs/mount.md).
NOT_AT_ALL, UNTIL_TOLD = 0.0, 86400.0
_NANOSECONDS = 1_000_000_000
_RANGE_CODES = {LockKind.SHARED: 0, LockKind.EXCLUSIVE: 1, LockKind.NONE: 2}  # asm-generic/fcntl.h

_DONE, _ENTRY, _ATTRIBUTES, _OPENED = answers.Done, answers.Entry, answers.Attributes, answers.Opened
DUE: dict[type[Request], type[Reply]] = {
    ask.Lookup: _ENTRY,
    ask.Create: answers.Created,
    ask.MakeNode: _ENTRY,
    ask.MakeDirectory: _ENTRY,
    ask.SymbolicLink: _ENTRY,
    ask.ReadLink: answers.Data,
    ask.Link: _ENTRY,
    ask.Unlink: _DONE,
    ask.RemoveDirectory: _DONE,
    ask.Rename: _DONE,
    ask.GetAttributes: _ATTRIBUTES,
    ask.SetAttributes: _ATTRIBUTES,
    ask.FileSystemStatistics: answers.Statistics,
    ask.Open: _OPENED,
    ask.Read: answers.Data,
    ask.Write: answers.Written,
    ask.Flush: _DONE,
    ask.Release: _DONE,
    ask.Synchronize: _DONE,
    ask.OpenDirectory: _OPENED,
    ask.ReadDirectory: answers.Entries,
    ask.ReleaseDirectory: _DONE,
    ask.SynchronizeDirectory: _DONE,
    ask.LockRange: _DONE,
    ask.QueryRange: answers.RangeHeld,
    ask.LockWhole: _DONE,
}
"""request -> the answer that is due to it, if it does not fail."""


class Replies:
    """The structures are made once: an answer is copied into the kernel before `send` returns."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._stat = fuse.c_stat()
        self._entry = fuse.EntryParameters()
        self._info = fuse.fuse_file_info()
        self._statistics = fuse.c_statvfs()
        self._lock = fuse.c_flock_t()

    def send(self, request: int, asked: Request, reply: Reply) -> None:
        """Answer libfuse's `request`. That the kernel has given it up meanwhile is no error.

        Raises TypeError for an answer to something else.
        """
        library = self._library
        if isinstance(reply, answers.Failed):
            library.fuse_reply_err(request, reply.errno)
            return
        if type(reply) is not DUE[type(asked)]:
            raise TypeError(f"{asked!r} cannot be answered with {reply!r} (it takes: {DUE[type(asked)].__name__})")
        if isinstance(reply, answers.Attributes):
            _fill(self._stat, reply)
            library.fuse_reply_attr(request, byref(self._stat), _validity(reply))
        elif isinstance(reply, answers.Data):
            if isinstance(asked, ask.ReadLink):
                library.fuse_reply_readlink(request, reply.data)
            else:
                library.fuse_reply_buf(request, reply.data, len(reply.data))
        elif isinstance(reply, answers.Entry):
            library.fuse_reply_entry(request, byref(self._fill_entry(reply)))
        elif isinstance(reply, answers.Written):
            library.fuse_reply_write(request, reply.size)
        elif isinstance(reply, answers.Opened):
            is_file = isinstance(asked, ask.Open)
            library.fuse_reply_open(request, byref(self._fill_info(reply.handle, is_file=is_file)))
        elif isinstance(reply, answers.Created):
            info = self._fill_info(reply.handle, is_file=True)
            library.fuse_reply_create(request, byref(self._fill_entry(reply.entry)), byref(info))
        elif isinstance(reply, answers.Done):
            library.fuse_reply_err(request, 0)
        else:
            self._send_rarer(request, asked, reply)

    def _send_rarer(self, request: int, asked: Request, reply: Reply) -> None:
        if isinstance(reply, answers.Entries):
            assert isinstance(asked, ask.ReadDirectory)
            self._send_entries(request, asked.size, reply)
        elif isinstance(reply, answers.RangeHeld):
            lock = self._lock
            lock.l_type, lock.l_whence, lock.l_pid = _RANGE_CODES[reply.kind], 0, reply.process
            lock.l_start = reply.first
            lock.l_len = 0 if reply.last == LAST_BYTE else reply.last - reply.first + 1
            self._library.fuse_reply_lock(request, byref(lock))
        else:
            assert isinstance(reply, answers.Statistics), reply
            found = self._statistics
            found.f_bsize = found.f_frsize = reply.block_size
            found.f_blocks, found.f_bfree, found.f_bavail = reply.blocks, reply.blocks_free, reply.blocks_free
            found.f_files, found.f_ffree, found.f_favail = reply.inodes, reply.inodes_free, reply.inodes_free
            found.f_namemax = reply.name_size_max
            self._library.fuse_reply_statfs(request, byref(found))

    def _send_entries(self, request: int, size_max: int, reply: answers.Entries) -> None:
        room = ctypes.create_string_buffer(size_max)
        start = ctypes.addressof(room)
        used = 0
        stat = self._stat
        for entry in reply.entries:
            stat.st_ino, stat.st_mode = entry.inode, entry.mode
            left = size_max - used
            size = self._library.fuse_add_direntry(request, start + used, left, entry.name, byref(stat), entry.position)
            if size > left:
                break  # the kernel asks again, from the last one that did fit
            used += size
        self._library.fuse_reply_buf(request, room.raw[:used], used)

    def _fill_entry(self, entry: Entry) -> Any:
        made = self._entry
        made.ino, made.generation = entry.attributes.inode, entry.generation
        made.attr_timeout, made.entry_timeout = _validity(entry.attributes), NOT_AT_ALL
        _fill(made.attr, entry.attributes)
        return made

    def _fill_info(self, handle: int, *, is_file: bool) -> Any:
        """direct_io: every read and write of a file is a request, nothing of it stays in the node's page cache."""
        info = self._info
        info.fh, info.direct_io = handle, int(is_file)
        return info


def _validity(attributes: Attributes) -> float:
    return UNTIL_TOLD if attributes.keep else NOT_AT_ALL


def _fill(stat: Any, attributes: Attributes) -> None:
    stat.st_ino = attributes.inode
    stat.st_mode = attributes.mode
    stat.st_nlink = attributes.links
    stat.st_uid = attributes.uid
    stat.st_gid = attributes.gid
    stat.st_rdev = attributes.device
    stat.st_size = attributes.size
    stat.st_blksize = attributes.block_size
    stat.st_blocks = attributes.blocks
    for spec, time_ns in (
        (stat.st_atimespec, attributes.access_ns),
        (stat.st_mtimespec, attributes.modify_ns),
        (stat.st_ctimespec, attributes.change_ns),
    ):
        spec.tv_sec, spec.tv_nsec = divmod(time_ns, _NANOSECONDS)
