"""Mounts the file system of mount_memory from a plain event loop:

    tests.unit.mount_server [--hasty] [--keep] POINT [POINT]

Each further point is a mount of the same files, as it is on another node of a cluster; with --keep their kernels keep
attributes, and are told when these change. With --hasty that is tried in the turns of the loop only, as in a node in
which programs get no processor.

Says "mounted" when all are, or why one is not. Ends at the end of its input, or when somebody unmounts one; a line of
input is answered with a line of JSON: how many requests of each kind came since the last one, what is open, and the
processor time used so far.
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
from guestd.runtime.fuse import session
from guestd.runtime.mount import Mount
from guestd.sfs.answers import Entry, FileAnswer
from guestd.sfs.requests import NO_ANSWER, FileRequest, Interrupt, Lookup
from tests.unit.mount_memory import MemoryFiles

GROWS = b"grows"
TURN_MS = 20  # as a guestd that ticks


class Server:
    """The numbers of each mount's requests are made different ones for the file system: number * mounts + place."""

    def __init__(self, points: list[str], *, keep: bool = False) -> None:
        self.files = MemoryFiles(keep=keep)
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
        more = any(mount.has_more for mount in self.mounts)
        ready = {fd for fd, _ in poll.poll(0 if more else TURN_MS)}
        if 0 in ready:
            if os.read(0, 4096):
                print(json.dumps(self.report()), flush=True)
                self.counts.clear()
            else:
                self.mounts[0].close()
        for place, mount in enumerate(self.mounts):
            mount.forget_again()
            for given in mount.take():
                self.counts[type(given.request).__name__] += 1
                due = self.files.handle(self.renumbered(given, place))
                self.tell_of_changes(place)
                for answer in due:
                    number, at = divmod(answer.number, len(self.mounts))
                    self.mounts[at].answer(FileAnswer(number, answer.reply))
                    if isinstance(given.request, Lookup) and isinstance(answer.reply, Entry):
                        self.grow(given.request.name, answer.reply)

    def tell_of_changes(self, place: int) -> None:
        """All but the mount by which they came: its own kernel knows."""
        if self.files.keep:
            for at, mount in enumerate(self.mounts):
                for inode in sorted(self.files.changed) if at != place else ():
                    mount.changed(inode)
        self.files.changed.clear()

    def grow(self, name: bytes, entry: Entry) -> None:
        """A file with this name becomes longer when it has been found, so quickly that the finder may not know yet."""
        if name.startswith(GROWS):
            inode = entry.attributes.inode
            self.files.inodes[inode].data.append(0)
            for mount in self.mounts:
                mount.changed(inode)

    def renumbered(self, given: FileRequest, place: int) -> FileRequest:
        request, count = given.request, len(self.mounts)
        if isinstance(request, Interrupt):
            return replace(given, request=Interrupt(request.number * count + place))
        return given if given.number == NO_ANSWER else replace(given, number=given.number * count + place)

    def report(self) -> dict[str, Any]:
        files = self.files
        kept = {"handles": len(files.handles), "inodes": len(files.inodes), "wrote_at": files.wrote_at}
        kept["renames"] = files.renames
        waiting = sum(len(inode.ranges.waiting) + len(inode.whole.waiting) for inode in files.inodes.values())
        return {"cpu_s": time.process_time(), "waiting": waiting + len(files.stuck), **kept, **self.counts}


if __name__ == "__main__":
    # On a host the program that holds it up may have to wait for the processor for long; here are no heartbeats.
    session.FORGET_TRIES_MAX = 0 if "--hasty" in sys.argv else 10_000
    points = [word for word in sys.argv[1:] if not word.startswith("--")]
    sys.exit(Server(points, keep="--keep" in sys.argv).serve())
