"""The load of one node: a program that runs there and uses files, locks and virtual disks as others do.

Usage, on a node: PYTHONPATH=/usr/lib/hil python3 -S on_node.py LOAD NODE SERIAL PAUSE_MS KIND...

LOAD: a name that no other load of the cluster has; SERIAL: no two programs of it have the same. It ends when its
standard input does. Each kind is a thread, and says what it holds for done when it is done, one line each
(:mod:`hil.workloads.histories` reads them):

    ready KIND
    wrote WRITER NUMBER                 that record of the shared log is on the medium
    took LOCK GENERATION COUNT HOW      it alone holds that lock, and this is the count that it will leave in its value
    denied LOCK                         it was the one that had to give way in a circle of waits
    begins NAME PARTS COPIES            it is about to make that virtual disk so: PARTS times SIZE; 0 0: to take it away
    made NAME PARTS COPIES              that is so
    refused NAME WHY                    that was refused: whether it is so is not known
    ended KIND WHY                      it does nothing more: it was asked to end, or cannot go on
"""

from __future__ import annotations

import os
import sys
import threading
import time
import zlib

from guestd.connection import PATH, Connection
from guestd.locks import VALUE_SIZE, LockDenied, Locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SHARED = os.environ.get("HIL_SHARED", "/shared")
SOCKET = os.environ.get("HIL_GUESTD", PATH)
DIRECTORY = "load"
"""On the shared file system: the logs, by the names of their loads."""
LOCKS = ("queue", "disk")
BOTH_EVERY = 5
"""So seldom both locks are taken, in opposite orders on neighbours: circles come, but not all the time."""
HELD_S = 0.01
SIZE = 1 << 19
"""Bytes, of which virtual disks here have one or two times as many."""


def record(writer: str, number: int) -> bytes:
    """That one of a writer: of up to 650 bytes, so it lies across borders of sectors now and then."""
    text = f"{writer} {number} {'abcdefghij'[number % 10] * (number * 37 % 600)}".encode()
    return b"%s %08x\n" % (text, zlib.crc32(text))


class Load:
    """Of one node."""

    def __init__(self, load: str, node: int, serial: int, pause_s: float) -> None:
        self.load = load
        self.node = node
        self.writer = f"n{node}-{serial}"
        self._pause_s = pause_s
        self._over = threading.Event()
        self._line = threading.Lock()

    def run(self, kinds: list[str]) -> None:
        """Until the standard input ends."""
        works: dict[str, Callable[[], None]] = {"files": self._files, "locks": self._locks, "volumes": self._volumes}
        threads = [threading.Thread(target=self._guard, args=(kind, works[kind])) for kind in kinds]
        for thread in threads:
            thread.start()
        while os.read(0, 4096):
            pass
        self._over.set()
        for thread in threads:
            thread.join()

    def _say(self, *words: object) -> None:
        with self._line:
            os.write(1, (" ".join(map(str, words)) + "\n").encode())

    def _guard(self, kind: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as why:  # noqa: BLE001 - whether it may be is for the host to judge
            self._say("ended", kind, f"{type(why).__name__}: {why}")
        else:
            self._say("ended", kind, "as asked")

    def _goes_on(self) -> bool:
        return not self._over.wait(self._pause_s)

    # -- files

    def _files(self) -> None:
        directory = f"{SHARED}/{DIRECTORY}"
        os.makedirs(directory, exist_ok=True)
        log = os.open(f"{directory}/{self.load}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for place in (directory, SHARED):  # the names are on the medium before anything is held for done
            opened = os.open(place, os.O_RDONLY)
            os.fsync(opened)
            os.close(opened)
        self._say("ready files")
        number = 0
        while self._goes_on():
            number += 1
            data = record(self.writer, number)
            if os.write(log, data) != len(data):
                raise OSError(f"record {number} was written in part")
            os.fsync(log)
            self._say("wrote", self.writer, number)
        os.close(log)

    # -- locks

    def _locks(self) -> None:
        """NL is kept: so the values live as long as anybody's program does."""
        with Locks(SOCKET) as locks:
            numbers = {name: locks.acquire(name, mode="NL") for name in LOCKS}
            self._say("ready locks")
            turn = 0
            while self._goes_on():
                turn += 1
                names = list(LOCKS) if self.node % 2 else list(LOCKS[::-1])
                self._take(locks, numbers, names[:1] if turn % BOTH_EVERY else names)

    def _take(self, locks: Locks, numbers: dict[str, int], names: list[str]) -> None:
        name, left = "", {}
        try:
            for name in names:
                locks.convert(numbers[name], "EX")
                left[name] = self._counted(name, locks.values[numbers[name]])
            time.sleep(HELD_S)
        except LockDenied as why:
            if why.reason != "deadlock":
                raise
            self._say("denied", name)
        for name, value in left.items():
            locks.convert(numbers[name], "NL", value=value)

    def _counted(self, name: str, value: bytes | None) -> bytes:
        """What it will leave. A value that is lost, or that nobody has left yet, begins a new generation."""
        generation, count = (b"", 0) if value is None else (value[:8], int.from_bytes(value[8:16], "big"))
        how = "next"
        if value is None or not any(generation):
            how, generation, count = "lost" if value is None else "first", os.urandom(8), 0
        self._say("took", name, generation.hex(), count + 1, how)
        return (generation + (count + 1).to_bytes(8, "big")).ljust(VALUE_SIZE, b"\0")

    # -- virtual disks

    def _volumes(self) -> None:
        prefix = f"{self.load}-n{self.node}-"
        for disk in self._vdisk(do="list")["disks"]:
            if disk["name"].startswith(prefix):  # an earlier life of this node has left it
                self._change(disk["name"], 0, 0, do="delete")
        self._say("ready volumes")
        name, number = "", 0
        while self._goes_on():
            step = number % 4
            if step == 0:
                name = f"{prefix}{self.writer.partition('-')[2]}-{number // 4}"
                self._change(name, 1, 1, do="create", size=SIZE)
            elif step == 1:
                self._change(name, 1, 2, do="mirror")
            elif step == 2:
                self._change(name, 2, 2, do="grow", size=2 * SIZE)
            else:
                self._change(name, 0, 0, do="delete")
            number += 1
        if number % 4:
            self._change(name, 0, 0, do="delete")

    def _change(self, name: str, parts: int, copies: int, **asked: Any) -> None:
        self._say("begins", name, parts, copies)
        told = self._vdisk(name=name, **asked)
        if "error" in told:
            self._say("refused", name, told["error"])
        else:
            self._say("made", name, parts, copies)

    @staticmethod
    def _vdisk(**asked: Any) -> dict[str, Any]:
        connection = Connection(SOCKET)
        try:
            connection.send(vdisk=asked)
            told: dict[str, Any] = connection.read(None)["vdisk"]
        finally:
            connection.close()
        return told


if __name__ == "__main__":
    Load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) / 1000).run(sys.argv[5:])
