"""The watcher of the way to a disk: it cannot be read in time, or can be again. Usage: disk_path.py [SOCKET]"""

from __future__ import annotations

import errno
import mmap
import os
import sys

if not __package__:  # started by its path: python3 -I finds nothing else
    sys.path.append(__file__.rpartition("/guestd/")[0])
from guestd.runtime import discovery, settings
from guestd.watcher import run
from guestd.watchers.probe import Probes
from guestd.watchers.rounds import is_due, rounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.watcher import Watch, Watcher
    from guestd.watchers.probe import Probe

READ_SIZE = 4096  # a multiple of every disk's sector size


def serve(watcher: Watcher) -> None:
    """A read that hangs is waited for: while it does, the path is lost, and no other read is sent after it."""
    probes = Probes(read)
    for now_s, watches in rounds(watcher, [probes.fileno()]):
        probes.heard()
        for watch in watches:
            path = watch.get("path") or ""
            probe = probes.of(path)
            if is_due(watch, now_s):
                probes.begin(path)
            judge(watcher, watch, probe, now_s)


def judge(watcher: Watcher, watch: Watch, probe: Probe, now_s: float) -> None:
    """A watch remembers whether its path is lost. One that is lost at the first look has just been lost."""
    within_s, lost = float(watch["within_s"]), watch.memory
    if probe.hangs_s(now_s) >= within_s:
        lost, reason = True, f"no answer after {within_s:g} s"
    elif probe.error:
        lost, reason = True, probe.error
    elif probe.ended:
        lost, reason = False, "it can be read"
    else:
        reason = "it was never read"
    if probe.began_s is not None and not lost:
        # Look again when its time is over.
        watch.next_s = min(watch.next_s, now_s + max(0.01, within_s - probe.hangs_s(now_s)))
    changed, watch.memory = bool(lost) != bool(watch.memory), lost
    if changed and watch["change"] == ("lost" if lost else "back"):
        path = probe.result or watch.get("path") or "the shared disk"
        watcher.occurred(watch, path=path, change=watch["change"], reason=reason)


def read(path: str) -> str:
    """Its first bytes, past the page cache; returns the path of what was read. Raises OSError."""
    path = path or shared_disk()
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_DIRECT)
    except OSError as why:
        if why.errno != errno.EINVAL:  # a plain file on a file system without direct I/O
            raise
        descriptor = os.open(path, flags)
    try:
        with mmap.mmap(-1, READ_SIZE) as buffer:  # begins at a page, as direct I/O wants it
            os.preadv(descriptor, [buffer], 0)
    finally:
        os.close(descriptor)
    return path


def shared_disk() -> str:
    """The path of the shared disk's device, found as guestd finds it. Raises OSError."""
    try:
        told = settings.load(os.environ)
    except settings.BadSettings as why:
        raise OSError(errno.ENODEV, str(why)) from None
    path = told.disk_path or discovery.find_disk(told.wwid)[0]
    if path is None:
        raise OSError(errno.ENODEV, f"there is no disk {told.wwid!r}")
    return path


if __name__ == "__main__":
    run("disk_path", serve)
