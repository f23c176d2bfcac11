"""Mounts the file system of mount_memory from a plain event loop: `python -m tests.unit.mount_server POINT [POINT]`.

Each further point is a mount of the same files, as it is on another node of a cluster. Says "mounted" when all are, or
why one is not. Ends at the end of its input, or when somebody unmounts one; a line of input is answered with a line of
JSON: how many requests of each kind came since the last one, what is open, and the processor time used so far.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections import Counter
from typing import Any

from guestd.core.value import replace
from guestd.runtime.mount import Mount
from guestd.sfs.answers import FileAnswer
from guestd.sfs.requests import NO_ANSWER, FileRequest, Interrupt
from tests.unit.mount_memory import MemoryFiles


class Server:
    """The numbers of each mount's requests are made different ones for the file system: number * mounts + place."""

    def __init__(self, points: list[str]) -> None:
        self.files = MemoryFiles()
        self.mounts = [Mount(point, f"memory{place}") for place, point in enumerate(points)]
        self.counts: Counter[str] = Counter()

    def serve(self) -> int:
        told = False
        while not self.files.unmounted:
            failures = [mount.failure for mount in self.mounts if mount.failure is not None]
            if failures:
                print(failures[0], flush=True)
                return 1
            if not told and all(mount.is_mounted for mount in self.mounts):
                print("mounted", flush=True)
                told = True
            self.turn()
        for mount in self.mounts:
            mount.close()
        print("unmounted", flush=True)
        return 0

    def turn(self) -> None:
        poll = select.poll()
        for fd in (0, *(mount.fileno() for mount in self.mounts)):
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        if 0 in ready:
            if os.read(0, 4096):
                print(json.dumps(self.report()), flush=True)
                self.counts.clear()
            else:
                self.mounts[0].close()
        for place, mount in enumerate(self.mounts):
            for given in mount.take():
                self.counts[type(given.request).__name__] += 1
                for answer in self.files.handle(self.renumbered(given, place)):
                    number, at = divmod(answer.number, len(self.mounts))
                    self.mounts[at].answer(FileAnswer(number, answer.reply))

    def renumbered(self, given: FileRequest, place: int) -> FileRequest:
        request, count = given.request, len(self.mounts)
        if isinstance(request, Interrupt):
            return replace(given, request=Interrupt(request.number * count + place))
        return given if given.number == NO_ANSWER else replace(given, number=given.number * count + place)

    def report(self) -> dict[str, Any]:
        files = self.files
        kept = {"handles": len(files.handles), "inodes": len(files.inodes), "wrote_at": files.wrote_at}
        waiting = sum(len(inode.ranges.waiting) + len(inode.whole.waiting) for inode in files.inodes.values())
        return {"cpu_s": time.process_time(), "waiting": waiting + len(files.stuck), **kept, **self.counts}


if __name__ == "__main__":
    sys.exit(Server(sys.argv[1:]).serve())
