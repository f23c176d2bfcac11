"""The file of the services' database, and the file lock beside it: what may wait for long is done by a thread.

One operation at a time, in the order in which they were asked for. The loop is told of their ends through an eventfd.
Everything is looked up from a descriptor of the directory that the shared file system is mounted at: a mount that goes
away in between is an error, never an empty directory.
"""

from __future__ import annotations

import _thread  # threading would do the same and take twice as long to import
import errno
import fcntl
import os
from zlib import crc32

from guestd.events.effects import AppendStore, LockStore, ReadStore, ReplaceStore, UnlockStore
from guestd.events.inputs import StoreDone

TYPE_CHECKING = False
if TYPE_CHECKING:
    StoreEffect = LockStore | UnlockStore | ReadStore | AppendStore | ReplaceStore

DIRECTORY = ".cluster"  # of the shared file system
FILE = "services"
NEW_FILE = "services.new"
LOCK_FILE = "lock"
READ_SIZE = 1 << 20
IDENTIFYING_SIZE = 8  # of the first transaction: its checksum


class Store:
    """The database's file in the directory of one shared file system."""

    def __init__(self, shared: str, *, is_mount: bool) -> None:
        """shared: where the file system is. is_mount: it is there only while something is mounted at that place."""
        self._shared = shared
        self._is_mount = is_mount
        self._lock = -1
        self._asked: list[StoreEffect] = []
        self._done: list[StoreDone] = []
        self._wanted = os.eventfd(0, os.EFD_SEMAPHORE)
        self._ended = os.eventfd(0, os.EFD_NONBLOCK)
        _thread.start_new_thread(self._work, ())

    def fileno(self) -> int:
        """Readable when an operation has ended."""
        return self._ended

    def submit(self, effect: StoreEffect) -> None:
        """Carry that out when all before it are done."""
        self._asked.append(effect)
        os.eventfd_write(self._wanted, 1)

    def take(self) -> list[StoreDone]:
        """What has ended since the last call. Does not wait."""
        try:
            os.eventfd_read(self._ended)
        except BlockingIOError:
            return []
        count = len(self._done)
        done, self._done[:count] = self._done[:count], []
        return done

    def _work(self) -> None:
        while True:
            os.eventfd_read(self._wanted)
            self._done.append(self.carry_out(self._asked.pop(0)))
            os.eventfd_write(self._ended, 1)

    def carry_out(self, effect: StoreEffect) -> StoreDone:
        """Do it now, however long it takes."""
        try:
            if isinstance(effect, UnlockStore):
                self._unlock()
                return StoreDone(effect.tag, 0)
            directory = self._open_directory(make=isinstance(effect, (LockStore, ReplaceStore)))
            try:
                return self._carry_out(effect, directory)
            finally:
                if directory >= 0:
                    os.close(directory)
        except OSError as why:
            return StoreDone(effect.tag, why.errno or errno.EIO)

    def _carry_out(self, effect: StoreEffect, directory: int) -> StoreDone:
        if isinstance(effect, ReadStore):
            return self._read(effect, directory)
        if isinstance(effect, LockStore):
            self._take_lock(directory)
        elif self._lock < 0:
            raise OSError(errno.ENOLCK, "written without the lock")
        elif directory < 0:
            raise OSError(errno.ENOENT, DIRECTORY)
        elif isinstance(effect, AppendStore):
            _append(effect, directory)
        elif isinstance(effect, ReplaceStore):
            return StoreDone(effect.tag, 0, _replace(effect, directory))
        return StoreDone(effect.tag, 0)

    def _open_directory(self, *, make: bool) -> int:
        """-1: it was not made yet. Raises OSError while there is no shared file system."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        shared = os.open(self._shared, flags)
        try:
            if self._is_mount and os.fstat(shared).st_dev == os.stat(os.path.dirname(self._shared)).st_dev:
                raise OSError(errno.ENOTCONN, "not mounted")
            try:
                return os.open(DIRECTORY, flags, dir_fd=shared)
            except FileNotFoundError:
                if not make:
                    return -1
            try:
                os.mkdir(DIRECTORY, 0o700, dir_fd=shared)
                os.fsync(shared)
            except FileExistsError:  # another node was faster
                pass
            return os.open(DIRECTORY, flags, dir_fd=shared)
        finally:
            os.close(shared)

    def _take_lock(self, directory: int) -> None:
        self._unlock()
        fd = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:
            os.close(fd)
            raise
        self._lock = fd

    def _unlock(self) -> None:
        fd, self._lock = self._lock, -1
        if fd >= 0:
            os.close(fd)

    @staticmethod
    def _read(effect: ReadStore, directory: int) -> StoreDone:
        try:
            if directory < 0:
                return StoreDone(effect.tag, 0)
            fd = os.open(FILE, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            return StoreDone(effect.tag, 0)
        try:
            parts, place = [], effect.offset
            while part := os.pread(fd, READ_SIZE, place):
                parts.append(part)
                place += len(part)
            identity = _identity(fd, os.pread(fd, IDENTIFYING_SIZE, 0))
            return StoreDone(effect.tag, 0, identity, b"".join(parts))
        finally:
            os.close(fd)


def _identity(fd: int, begin: bytes) -> int:
    """The number of a file that was removed may be given to another one: what it begins with tells them apart."""
    return os.fstat(fd).st_ino << 32 | crc32(begin)


def _append(effect: AppendStore, directory: int) -> None:
    fd = os.open(FILE, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.ftruncate(fd, effect.offset)
        _write(fd, effect.data, effect.offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def _replace(effect: ReplaceStore, directory: int) -> int:
    """The identity of the new file."""
    fd = os.open(NEW_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        _write(fd, effect.data, 0)
        os.fsync(fd)
        identity = _identity(fd, effect.data[:IDENTIFYING_SIZE])
    finally:
        os.close(fd)
    os.rename(NEW_FILE, FILE, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)
    return identity


def _write(fd: int, data: bytes, place: int) -> None:
    rest = memoryview(data)
    while rest:
        done = os.pwrite(fd, rest, place)
        rest, place = rest[done:], place + done
