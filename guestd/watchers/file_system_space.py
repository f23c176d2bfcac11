"""The watcher of the room in file systems. Usage: file_system_space.py [SOCKET]"""

from __future__ import annotations

import os
import sys

if not __package__:  # started by its path: python3 -I finds nothing else
    sys.path.append(__file__.rpartition("/guestd/")[0])
from guestd.watcher import run
from guestd.watchers.probe import Probes
from guestd.watchers.rounds import is_due, rounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.watcher import Watch, Watcher
    from guestd.watchers.probe import Probe

HANGS_S = 10.0  # a file system that does not answer for longer is reported; a shared one waits for a recovery


def serve(watcher: Watcher) -> None:
    """Too little room is said once, and again when there was enough in between."""
    probes = Probes(os.statvfs)
    for now_s, watches in rounds(watcher, [probes.fileno()]):
        probes.heard()
        for watch in watches:
            probe = probes.of(watch["path"])
            if is_due(watch, now_s):
                probes.begin(watch["path"])
            if probe.hangs_s(now_s) >= HANGS_S:
                watcher.trouble(watch, f"{watch['path']}: no answer for more than {HANGS_S:g} s")
            elif probe.error:
                watcher.trouble(watch, f"{watch['path']}: {probe.error}")
            elif probe.ended:
                watcher.trouble(watch)
                judge(watcher, watch, probe)


def judge(watcher: Watcher, watch: Watch, probe: Probe) -> None:
    """By the last answer of its file system. A watch remembers whether there was too little room."""
    room: os.statvfs_result = probe.result
    free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    percent = 100.0 * free / total if total else 100.0  # one without blocks, such as /proc, cannot be full
    bytes_least = watch.get("below_bytes")
    little = percent < watch["below_percent"] if bytes_least is None else free < bytes_least
    if little and not watch.memory:
        about = {"bytes_free": free, "bytes_total": total, "percent_free": round(percent, 2)}
        watcher.occurred(watch, path=watch["path"], **about)
    watch.memory = little


if __name__ == "__main__":
    run("file_system_space", serve)
