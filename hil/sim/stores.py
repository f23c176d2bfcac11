"""The services' database as an event manager's process works on it: files below /shared/.cluster, one system call after
the other, as the kernel hands them to guestd (:mod:`hil.sim.mounts`).

A process that is killed closes its files, with the lock; what it has written and not synchronized stays in its node's
cache, for the one that begins anew.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

from guestd.events.effects import AppendStore, LockStore, ReadStore, ReplaceStore, UnlockStore
from guestd.events.inputs import StoreDone
from guestd.sfs import answers as say
from guestd.sfs import requests as ask
from guestd.sfs.requests import ROOT_INODE, LockKind

if TYPE_CHECKING:
    import random

    from guestd.events.effects import Effect
    from hil.sim.mounts import Mounts
    from hil.sim.nodes import Node

DIRECTORY: Final = b".cluster"
DATABASE: Final = b"services"
LOCK: Final = b"lock"
_NEW: Final = b"services.new"
_PIECE: Final = 65_536  # of one read or write
_SHORT_SHARE: Final = 0.2  # of writes that are handed out in two: a process that is killed meanwhile leaves half a line

Work = Generator["ask.Request", Any, Any]


class Refused(Exception):
    """A system call has failed."""

    def __init__(self, error: int) -> None:
        super().__init__(errno.errorcode.get(error, str(error)))
        self.error = error


IDLE: Final = "nothing"


class Store:
    """Of one event manager. ``owner``: a number of the process, for its lock; ``done`` hears how each one ends."""

    def __init__(
        self,
        node: Node,
        mounts: Mounts,
        owner: int,
        draw: random.Random,
        done: Callable[[Effect, StoreDone], None],
    ) -> None:
        self.doing = IDLE
        self._node = node
        self._life = node.life
        self._mounts = mounts
        self._owner = owner
        self._draw = draw
        self._done = done
        self._wanted: deque[Effect] = deque()
        self._work: Work | None = None
        self._awaits = 0  # the number of the request that it waits for; 0: none
        self._killed = False
        self._open: dict[int, int] = {}  # handle -> inode
        self._directory = 0  # its inode, once it is known
        self._lock: tuple[int, int] | None = None  # inode and handle of the lock's file, once it is open

    def carry_out(self, effect: Effect) -> None:
        """One operation, after those that were asked for before."""
        self._wanted.append(effect)
        if self._work is None:
            self._next()

    @property
    def looks(self) -> bool:
        """Nothing is under way but a look at the database."""
        return self._work is None or isinstance(self._wanted[0], ReadStore)

    def kill(self) -> None:
        """The process has ended: its files are closed."""
        self._killed = True
        self._wanted.clear()
        if self._awaits:
            self._mounts.interrupt(self._node, self._life, self._awaits)
        elif self._work is None:
            self._close()

    # -- how it runs

    def _next(self) -> None:
        while self._wanted and self._work is None:
            effect = self._wanted[0]
            self.doing = type(effect).__name__
            self._work = self._operation(effect) if self._mounts.usable(self._node) else self._not_mounted()
            self._go_on(None)

    def _go_on(self, found: say.Reply | None) -> None:
        self._awaits = 0
        if isinstance(found, say.Created):
            self._open[found.handle] = found.entry.attributes.inode
        if self._killed:
            self._work = None
            self._close()
            return
        assert self._work is not None, "an operation is under way"
        try:
            request = self._work.send(found)
        except StopIteration as ended:
            identity, data = ended.value or (0, b"")
            self._over(0, identity, data)
        except Refused as why:
            self._over(why.error)
        else:
            self.doing = f"{type(self._wanted[0]).__name__}: {type(request).__name__}"
            self._awaits = self._mounts.ask(self._node, self._life, request, self._go_on)

    def _over(self, error: int, identity: int = 0, data: bytes = b"") -> None:
        self._work = None
        effect: Any = self._wanted.popleft()
        self.doing = IDLE
        for handle, inode in list(self._open.items()):  # of an operation that has failed half way
            if self._lock is None or handle != self._lock[1]:
                self._release(handle, inode)
        self._done(effect, StoreDone(effect.tag, error, identity, data))
        if not self._killed:
            self._next()

    def _close(self) -> None:
        for handle, inode in list(self._open.items()):
            self._release(handle, inode)

    def _release(self, handle: int, inode: int) -> None:
        """The kernel does it, and nobody waits."""
        del self._open[handle]
        owner = self._owner if self._lock is not None and handle == self._lock[1] else None
        self._mounts.ask(self._node, self._life, ask.Release(inode, handle, owner), _nobody)
        self._mounts.forget(self._node, self._life, inode, 1)

    # -- what it does

    def _operation(self, effect: Effect) -> Work:
        if isinstance(effect, LockStore):
            return self._take_lock()
        if isinstance(effect, UnlockStore):
            return self._give_lock()
        if isinstance(effect, ReadStore):
            return self._read(effect.offset)
        if isinstance(effect, AppendStore):
            return self._append(effect.offset, effect.data)
        assert isinstance(effect, ReplaceStore), f"{type(effect).__name__} is no operation on the database"
        return self._replace(effect.data)

    def _not_mounted(self) -> Work:
        error = errno.ENODEV
        if error:  # it is a generator as the others are
            raise Refused(error)
        yield ask.FileSystemStatistics()

    def _take_lock(self) -> Work:
        if self._lock is None:
            entry, handle = yield from self._create(LOCK, truncate=False)
            self._lock = entry.attributes.inode, handle
        inode, handle = self._lock
        yield from self._ask(ask.LockWhole(inode, handle, self._owner, LockKind.EXCLUSIVE, True))

    def _give_lock(self) -> Work:
        if self._lock is None:
            raise Refused(errno.EBADF)
        inode, handle = self._lock
        yield from self._ask(ask.LockWhole(inode, handle, self._owner, LockKind.NONE, False))

    def _read(self, offset: int) -> Generator[ask.Request, Any, tuple[int, bytes]]:
        directory = yield from self._found_directory()
        found = yield ask.Lookup(directory, DATABASE)
        if isinstance(found, say.Failed):
            if found.errno == errno.ENOENT:
                return 0, b""
            raise Refused(found.errno)
        inode, handle = yield from self._opened(found, writing=False)
        data = b""
        while True:
            piece = yield from self._ask(ask.Read(inode, handle, offset + len(data), _PIECE))
            data += piece.data
            if not piece.data:
                break
        yield from self._closed(inode, handle)
        return _identity(found), data

    def _append(self, offset: int, data: bytes) -> Work:
        directory = yield from self._found_directory()
        found = yield from self._ask(ask.Lookup(directory, DATABASE))
        inode, handle = yield from self._opened(found, writing=True)
        if found.attributes.size > offset:
            yield from self._ask(ask.SetAttributes(inode, handle, size=offset))
        yield from self._written(inode, handle, offset, data)
        yield from self._ask(ask.Synchronize(inode, handle, False))
        yield from self._closed(inode, handle)

    def _replace(self, data: bytes) -> Generator[ask.Request, Any, tuple[int, bytes]]:
        directory = yield from self._found_directory()
        entry, handle = yield from self._create(_NEW, truncate=True)
        inode = entry.attributes.inode
        yield from self._written(inode, handle, 0, data)
        yield from self._ask(ask.Synchronize(inode, handle, False))
        yield from self._closed(inode, handle)
        yield from self._ask(ask.Rename(directory, _NEW, directory, DATABASE, False, False))
        opened = yield from self._ask(ask.OpenDirectory(directory))
        yield from self._ask(ask.SynchronizeDirectory(directory, opened.handle, False))
        yield from self._ask(ask.ReleaseDirectory(directory, opened.handle))
        return _identity(entry), b""

    # -- steps

    def _found_directory(self) -> Generator[ask.Request, Any, int]:
        """It is made by whoever comes first, and never goes away."""
        if not self._directory:
            found = yield ask.Lookup(ROOT_INODE, DIRECTORY)
            if isinstance(found, say.Failed) and found.errno == errno.ENOENT:
                found = yield ask.MakeDirectory(ROOT_INODE, DIRECTORY, 0o700, 0, 0)
                if isinstance(found, say.Failed) and found.errno == errno.EEXIST:
                    found = yield ask.Lookup(ROOT_INODE, DIRECTORY)
            self._directory = _checked(found).attributes.inode
        return self._directory

    def _create(self, name: bytes, *, truncate: bool) -> Generator[ask.Request, Any, tuple[say.Entry, int]]:
        directory = yield from self._found_directory()
        created = yield from self._ask(ask.Create(directory, name, 0o600, 0, 0, True, False, truncate))
        return created.entry, created.handle

    def _opened(self, found: say.Entry, *, writing: bool) -> Generator[ask.Request, Any, tuple[int, int]]:
        inode = found.attributes.inode
        opened = yield from self._ask(ask.Open(inode, writing))
        self._open[opened.handle] = inode
        return inode, opened.handle

    def _written(self, inode: int, handle: int, offset: int, data: bytes) -> Work:
        start = 0
        while start < len(data):
            size = self._draw.randint(1, len(data) - start) if self._draw.random() < _SHORT_SHARE else _PIECE
            piece = data[start : start + size]
            yield from self._ask(ask.Write(inode, handle, offset + start, piece, False))
            start += len(piece)

    def _closed(self, inode: int, handle: int) -> Work:
        del self._open[handle]
        yield from self._ask(ask.Release(inode, handle, None))
        self._mounts.forget(self._node, self._life, inode, 1)

    @staticmethod
    def _ask(request: ask.Request) -> Generator[ask.Request, Any, Any]:
        return _checked((yield request))


def _identity(entry: say.Entry) -> int:
    return entry.generation << 32 | entry.attributes.inode


def _checked(found: Any) -> Any:
    if isinstance(found, say.Failed):
        raise Refused(found.errno)
    return found


def _nobody(_reply: say.Reply) -> None:
    """The kernel waits for it."""
