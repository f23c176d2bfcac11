"""In a guest: guestd's FUSE session and its disk thread with no file system between them, until somebody unmounts it.

    python3 guest_empty.py POINT DEVICE LBA

The most that a shared file system in this language can reach there. One file, whose byte 0 is in block LBA of the
device, which is nobody's. What is written to it is answered at once and goes to the disk behind the program's back, as
guestd does it; `fsync` waits until all of it is there, and has the disk's cache flushed.
"""

from __future__ import annotations

import os
import select
import sys
from collections import deque

from guestd.core.effects import ScsiCommand, WriteSectors
from guestd.runtime.disk_thread import SECTOR_SIZE, DiskThread
from guestd.runtime.fuse.session import Session
from guestd.sfs import answers as say
from guestd.sfs import requests as ask
from guestd.tasks.engine import SYNCHRONIZE_CACHE

WAITING_MAX = 4
"""Writes that have been answered and are not under way yet; guestd keeps four mebibytes, too."""
FILE = 2
NOTHING = say.Done()


class EmptyFileSystem:
    """One file."""

    def __init__(self, point: str, device: str, lba: int) -> None:
        self._session = Session(point, "empty")
        self._disk = DiskThread(lambda: device)
        self._lba = lba
        self._there = False
        self._waiting: deque[WriteSectors | ScsiCommand] = deque()  # the first one is under way
        self._synchronizing: dict[int, int] = {}  # tag of a flush -> number of the request that waits for it
        self._tag = 0

    def serve(self) -> None:
        """Until it is unmounted."""
        while self._session.fileno() >= 0:
            # A program that is ahead of the disk waits: its request is not taken.
            takes = len(self._waiting) <= WAITING_MAX
            disk, session = self._disk.fileno(), self._session.fileno()
            ready, _, _ = select.select([disk, session] if takes else [disk], [], [])
            if disk in ready:
                self._ended()
            if session in ready:
                for given in self._session.take():
                    self._take(given.number, given.request)

    def _take(self, number: int, request: ask.Request) -> None:
        if isinstance(request, ask.Write):
            self._submit(WriteSectors(self._next(), self._lba + request.offset // SECTOR_SIZE, request.data, False, 0))
            self._session.answer(number, say.Written(len(request.data)))
        elif isinstance(request, ask.Synchronize):
            tag = self._next()
            self._synchronizing[tag] = number
            self._submit(ScsiCommand(tag, SYNCHRONIZE_CACHE, b"", 0))
        elif number:
            self._session.answer(number, self._reply(request))

    def _reply(self, request: ask.Request) -> say.Reply:
        if isinstance(request, ask.Lookup):
            return say.Entry(0, attributes(FILE)) if self._there else say.Failed(2)
        if isinstance(request, ask.Create):
            self._there = True
            return say.Created(say.Entry(0, attributes(FILE)), 1)
        if isinstance(request, ask.Unlink):
            self._there = False
        if isinstance(request, (ask.GetAttributes, ask.SetAttributes)):
            return attributes(request.inode)
        return say.Statistics(4096, 1, 1, 1, 1) if isinstance(request, ask.FileSystemStatistics) else NOTHING

    def _next(self) -> int:
        self._tag += 1
        return self._tag

    def _submit(self, command: WriteSectors | ScsiCommand) -> None:
        self._waiting.append(command)
        if len(self._waiting) == 1:
            self._disk.submit(command)

    def _ended(self) -> None:
        done = self._disk.take()
        if done is None:
            return
        self._waiting.popleft()
        number = self._synchronizing.pop(done.tag, None)
        if number is not None:
            self._session.answer(number, NOTHING)
        if self._waiting:
            self._disk.submit(self._waiting[0])


def attributes(inode: int) -> say.Attributes:
    """Of the file, or of the directory that it is in."""
    mode = 0o100644 if inode == FILE else 0o40755
    return say.Attributes(inode, mode, 1, 0, 0, 0, 0, 0, 0, 0)


if __name__ == "__main__":
    at, disk, first = sys.argv[1:]
    os.makedirs(at, exist_ok=True)
    EmptyFileSystem(at, disk, int(first)).serve()
