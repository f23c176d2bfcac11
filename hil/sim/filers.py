"""Programs on the nodes that use the shared file system, as the kernel hands their requests to guestd (docs/mount.md).

Each does one thing after another, now and then, with files that all nodes share:

* append a record to a log, durably
* read a log
* add one to a counter, durably, under a lock of the whole file
* make a name, take a name away, durably; look for one

What they are told they believe; what they may believe is the claim :mod:`hil.sim.claims.files`.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from guestd.sfs import answers as say
from guestd.sfs import requests as ask
from guestd.sfs.requests import ROOT_INODE, LockKind
from hil.sim.randomness import child

if TYPE_CHECKING:
    from hil.sim.mounts import Mounts
    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue

LOGS: Final = (b"log one", b"log two")
COUNTER: Final = b"counter"
RECORD_SIZE: Final = 96  # some lie across the border of two sectors

_PAUSE_US_MIN: Final = 20_000
_PAUSE_US_MAX: Final = 2_000_000
_START_US_MAX: Final = 1_000_000
_NAMES_MAX: Final = 12  # of one program

Work = Generator["ask.Request | int", Any, None]
"""Yields a request, for its answer, or how long it pauses (µs)."""


def record(number: int) -> bytes:
    """That one of a log; no two are the same."""
    return (b"%016d" % number) * (RECORD_SIZE // 16)


class Ended(Exception):  # no error: its mount is gone
    """A program cannot go on."""


class Filer:
    """One program of one life of a node."""

    def __init__(self, node: Node, number: int, draw: random.Random) -> None:
        self.node = node
        self.life = node.life
        self.number = number
        self.draw = draw
        self.work: Work | None = None
        self.doing = "nothing"
        self.made: list[bytes] = []  # names that it has made
        self.open: dict[int, int] = {}  # handle -> inode, of files that it has open

    @property
    def runs(self) -> bool:
        """Whether its node does, in the life in which it began, and it has not ended."""
        return self.work is not None and self.node.stack is not None and self.node.life == self.life


class Listener(Protocol):
    """Hears what these programs do, and what they are told."""

    def appends(self, filer: Filer, log: bytes, number: int) -> None:
        """It is about to append that record."""

    def appended(self, filer: Filer, log: bytes, number: int) -> None:
        """It was told that the record is on the medium."""

    def reads(self, filer: Filer, log: bytes) -> object:
        """It is about to read; what is returned is given back with what it has read."""

    def has_read(self, filer: Filer, log: bytes, begun: object, contents: bytes) -> None:
        """The whole of the log; empty: there is none."""

    def has_locked(self, filer: Filer) -> object:
        """It alone has the counter's lock now. As with `reads`."""

    def counts(self, filer: Filer, begun: object, value: int) -> None:
        """It has read the counter, and is about to write one more."""

    def counted(self, filer: Filer) -> None:
        """It was told that this is on the medium. It still has the lock."""

    def changes(self, filer: Filer, name: bytes) -> None:
        """It is about to make that name, or to take it away."""

    def changed(self, filer: Filer, name: bytes, *, exists: bool) -> None:
        """It was told that this is on the medium."""

    def looks(self, name: bytes) -> object:
        """It is about to look for that name. As with `reads`."""

    def has_looked(self, filer: Filer, name: bytes, begun: object, *, exists: bool) -> None:
        """What it has found."""

    def failed(self, filer: Filer, what: str, error: int) -> None:
        """It was told that something could not be done."""


class Filers:
    """All of them."""

    def __init__(self, queue: Queue, randomness: random.Random, options: Options, mounts: Mounts) -> None:
        self.listener: Listener | None = None
        self.counts = {"appended": 0, "read": 0, "counted": 0, "changed": 0, "looked": 0, "failed": 0}
        self.enabled = True
        """False: whoever has done what it was at ends."""
        self.names: list[bytes] = []
        """All that were ever made."""
        self._queue = queue
        self._random = [child(randomness) for _ in range(options.nodes)]
        self.count = options.filers  # on each node, from its next boot on
        self._all: list[Filer] = []
        self._mounts = mounts
        self._records = 0

    def start(self, node: Node) -> None:
        """The file system of that node may be used."""
        for _ in range(self.count):
            delay_us = self._random[node.number].randint(0, _START_US_MAX)
            self._queue.after(delay_us, self._begin, node, node.life)

    def look_over(self, node: Node) -> Filer:
        """One more program there: it reads everything once, and ends."""
        filer = self._made(node)
        filer.work = self._look_over(filer)
        self._go_on(filer, None)
        return filer

    def busy(self) -> str | None:
        """One that runs; None if there is none."""
        for filer in self._all:
            if filer.runs:
                return f"a program on node {filer.node.number} {filer.doing}"
        return None

    # -- how they run

    def _begin(self, node: Node, life: int) -> None:
        if node.life == life and node.stack is not None and self.enabled:
            filer = self._made(node)
            filer.work = self._live(filer)
            self._go_on(filer, None)

    def _made(self, node: Node) -> Filer:
        filer = Filer(node, len(self._all) + 1, child(self._random[node.number]))
        self._all.append(filer)
        return filer

    def _go_on(self, filer: Filer, found: object) -> None:
        if not filer.runs:
            return
        if filer.node.frozen is not None:
            filer.node.keep(self._go_on, filer, found)
            return
        assert filer.work is not None, "it runs"
        try:
            wanted = filer.work.send(found)
        except StopIteration:
            filer.work = None
            return
        except Ended:
            filer.work = self._close(filer)
            self._go_on(filer, None)
            return
        if isinstance(wanted, int):
            self._queue.after(wanted, self._go_on, filer, None)
            return
        self._mounts.ask(filer.node, filer.life, wanted, partial(self._go_on, filer))

    # -- what they do

    def _live(self, filer: Filer) -> Work:
        draw = filer.draw
        while True:
            yield draw.randint(_PAUSE_US_MIN, _PAUSE_US_MAX)
            if not self.enabled:
                break
            what = draw.random()
            if what < 0.3:
                yield from self._append(filer, draw.choice(LOGS))
            elif what < 0.55:
                yield from self._read(filer, draw.choice(LOGS))
            elif what < 0.75:
                yield from self._count_one(filer)
            elif what < 0.9:
                yield from self._change(filer)
            else:
                yield from self._look(filer)
        filer.doing = "nothing"

    def _close(self, filer: Filer) -> Work:
        """It cannot go on, and ends: its node's kernel closes its files, with the locks that it had on them."""
        filer.doing = "ends"
        for handle, inode in list(filer.open.items()):
            yield ask.Release(inode, handle, filer.number)
        filer.open.clear()

    def _look_over(self, filer: Filer) -> Work:
        for log in LOGS:
            yield from self._read(filer, log)
        for name in self.names:
            yield from self._look(filer, name)

    def _append(self, filer: Filer, log: bytes) -> Work:
        filer.doing = f"appends to {log.decode()}"
        inode, handle = yield from self._open(filer, log)
        self._records += 1
        number = self._records
        if self.listener is not None:
            self.listener.appends(filer, log, number)
        data = record(number)
        yield from self._ask(filer, ask.Write(inode, handle, 0, data, True, True))
        self.counts["appended"] += 1
        if self.listener is not None:
            self.listener.appended(filer, log, number)
        yield from self._release(filer, inode, handle)

    def _read(self, filer: Filer, log: bytes) -> Work:
        filer.doing = f"reads {log.decode()}"
        begun = None if self.listener is None else self.listener.reads(filer, log)
        contents = b""
        found = yield ask.Lookup(ROOT_INODE, log)
        if not isinstance(found, say.Failed) or found.errno != errno.ENOENT:
            entry = self._checked(filer, "look up", found)
            inode = entry.attributes.inode
            opened = yield from self._ask(filer, ask.Open(inode, False))
            filer.open[opened.handle] = inode
            while True:
                data = yield from self._ask(filer, ask.Read(inode, opened.handle, len(contents), 65_536))
                if not data.data:
                    break
                contents += data.data
            yield from self._release(filer, inode, opened.handle)
        self.counts["read"] += 1
        if self.listener is not None:
            self.listener.has_read(filer, log, begun, contents)

    def _count_one(self, filer: Filer) -> Work:
        filer.doing = "counts"
        inode, handle = yield from self._open(filer, COUNTER)
        owner = filer.number
        yield from self._ask(filer, ask.LockWhole(inode, handle, owner, LockKind.EXCLUSIVE, True))
        begun = None if self.listener is None else self.listener.has_locked(filer)
        if filer.draw.random() < 0.5:
            yield filer.draw.randint(1, _PAUSE_US_MIN)
        found = yield from self._ask(filer, ask.Read(inode, handle, 0, 16))
        value = int(found.data or b"0")
        if self.listener is not None:
            self.listener.counts(filer, begun, value)
        yield from self._ask(filer, ask.Write(inode, handle, 0, b"%016d" % (value + 1), False, True))
        self.counts["counted"] += 1
        if self.listener is not None:
            self.listener.counted(filer)
        yield from self._ask(filer, ask.LockWhole(inode, handle, owner, LockKind.NONE, False))
        yield from self._release(filer, inode, handle)

    def _change(self, filer: Filer) -> Work:
        """Its own names only: so it is known which there are."""
        makes = len(filer.made) < _NAMES_MAX and (not filer.made or filer.draw.random() < 0.6)
        name = b"%d of %d" % (len(self.names), filer.number) if makes else filer.made.pop()
        filer.doing = f"{'makes' if makes else 'takes away'} {name.decode()}"
        if makes:
            self.names.append(name)
        if self.listener is not None:
            self.listener.changes(filer, name)
        if makes:
            created = yield from self._ask(filer, ask.Create(ROOT_INODE, name, 0o644, 0, 0, True, True, False))
            inode = created.entry.attributes.inode
            filer.open[created.handle] = inode
            yield from self._release(filer, inode, created.handle)
            filer.made.append(name)
        else:
            yield from self._ask(filer, ask.Unlink(ROOT_INODE, name))
        opened = yield from self._ask(filer, ask.OpenDirectory(ROOT_INODE))
        yield from self._ask(filer, ask.SynchronizeDirectory(ROOT_INODE, opened.handle, False))
        self.counts["changed"] += 1
        if self.listener is not None:
            self.listener.changed(filer, name, exists=makes)
        yield from self._ask(filer, ask.ReleaseDirectory(ROOT_INODE, opened.handle))

    def _look(self, filer: Filer, name: bytes | None = None) -> Work:
        if not self.names:
            return
        name = filer.draw.choice(self.names) if name is None else name
        filer.doing = f"looks for {name.decode()}"
        begun = None if self.listener is None else self.listener.looks(name)
        found = yield ask.Lookup(ROOT_INODE, name)
        missing = isinstance(found, say.Failed) and found.errno == errno.ENOENT
        if not missing:
            self._checked(filer, "look up", found)
        self.counts["looked"] += 1
        if self.listener is not None:
            self.listener.has_looked(filer, name, begun, exists=not missing)

    def _open(self, filer: Filer, name: bytes) -> Generator[ask.Request | int, Any, tuple[int, int]]:
        """Inode and handle of a file in the root directory, which is made if it is not there."""
        created = yield from self._ask(filer, ask.Create(ROOT_INODE, name, 0o644, 0, 0, True, False, False))
        inode: int = created.entry.attributes.inode
        filer.open[created.handle] = inode
        return inode, created.handle

    def _release(self, filer: Filer, inode: int, handle: int) -> Work:
        filer.open.pop(handle)
        yield from self._ask(filer, ask.Release(inode, handle, None))

    def _ask(self, filer: Filer, request: ask.Request) -> Generator[ask.Request | int, Any, Any]:
        found = yield request
        return self._checked(filer, type(request).__name__, found)

    def _checked(self, filer: Filer, what: str, found: Any) -> Any:
        if isinstance(found, say.Failed):
            self.counts["failed"] += 1
            if self.listener is not None:
                self.listener.failed(filer, what, found.errno)
            raise Ended
        return found
