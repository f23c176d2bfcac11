"""Mounts the shared file system of an image, from a plain event loop: `tests.unit.sfs_mount_server IMAGE POINT`.

Joins what guestd joins: the mount, the server of its requests, the file system, the lock manager of a cluster of one,
and the disk, which is the image in memory, written back at the end. Says and takes what `tests.unit.mount_server` does.
With `--profile FILE` the times of all functions go into that file.
"""

from __future__ import annotations

import cProfile
import json
import os
import select
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from guestd.runtime.mount import Mount
from guestd.sfs.answers import FileAnswer, FileChanged
from guestd.sfs.requests import Unmounted
from guestd.sfs.server import FileServer
from tests.unit.sfs_disk import SECTOR, CachedDisk
from tests.unit.sfs_node import SoloNode

SYNC_PERIOD_MS = 2000


class ImageDisk(CachedDisk):
    """The sectors of an image; nothing is remembered of how they came there."""

    def __init__(self, image: bytes) -> None:
        super().__init__()
        self.image = bytearray(image)
        self.writes = self.flushes = 0

    def read(self, lba: int, count: int) -> bytes:
        return bytes(memoryview(self.image)[SECTOR * lba : SECTOR * (lba + count)])

    def write(self, lba: int, data: bytes, *, durable: bool, node: int = 0) -> None:
        self.image[SECTOR * lba : SECTOR * lba + len(data)] = data
        self.writes += 1

    def flush(self, node: int = 0) -> None:
        self.flushes += 1


class Loop:
    """From the mount to the disk and back."""

    def __init__(self, image: Path, point: str) -> None:
        data = image.read_bytes()
        self.image = image
        self.disk = ImageDisk(data)
        self.node = SoloNode(self.disk, len(data) // 4096)
        self.system = self.node.mount()
        self.mount = Mount(point, "sfs")
        self.faults: list[str] = []
        self.server = FileServer(self.node.engine.start, lambda: self.system, self.emit, self.faults.append)
        self.counts: Counter[str] = Counter()
        self.unmounted = False

    def emit(self, effect: FileAnswer | FileChanged) -> None:
        if isinstance(effect, FileAnswer):
            self.mount.answer(effect)
        else:
            self.mount.changed(effect.inode)

    def serve(self) -> int:
        told = False
        while not self.unmounted:
            if self.mount.failure is not None:
                print(self.mount.failure, flush=True)
                return 1
            if not told and self.mount.is_mounted:
                print("mounted", flush=True)
                told = True
            self.turn()
        self.node.run(self.system.unmount())
        self.image.write_bytes(self.disk.image)
        print("unmounted" if not self.faults else self.faults, flush=True)
        return 0

    def turn(self) -> None:
        poll = select.poll()
        for fd in (0, self.mount.fileno()):
            poll.register(fd, select.POLLIN)
        more = self.mount.has_more
        found = poll.poll(0 if more else SYNC_PERIOD_MS)
        if not found and not more:
            self.server.synchronize()
        if 0 in (fd for fd, _ in found):
            if os.read(0, 4096):
                print(json.dumps(self.report()), flush=True)
                self.counts.clear()
            else:
                self.mount.close()
        for given in self.mount.take():
            self.counts[type(given.request).__name__] += 1
            self.server.handle(given)
            self.unmounted |= isinstance(given.request, Unmounted)
        self.node.settle()

    def report(self) -> dict[str, Any]:
        kept = {"handles": self.server.open_count, "waiting": self.server.running, "faults": self.faults}
        did = {"commits": self.system.journal.commits, "writes": self.disk.writes, "flushes": self.disk.flushes}
        return {"cpu_s": time.process_time(), "served": self.server.served, **kept, **did, **self.counts}


def main(words: list[str]) -> int:
    if words[0] != "--profile":
        return Loop(Path(words[0]), words[1]).serve()
    profile = cProfile.Profile(time.process_time)  # other work on the host would count as ours
    loop = Loop(Path(words[2]), words[3])
    profile.enable()
    try:
        return loop.serve()
    finally:
        profile.disable()
        profile.dump_stats(words[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
