"""The watcher of processes: one has ended, or has appeared. Usage: process.py [SOCKET]"""

from __future__ import annotations

import os
import sys

if not __package__:  # started by its path: python3 -I finds nothing else
    sys.path.append(__file__.rpartition("/guestd/")[0])
from guestd.core.value import Value
from guestd.watcher import run
from guestd.watchers.rounds import is_due, rounds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.watcher import Watch, Watcher

NAME_SIZE_KEPT = 15  # of a program's name, by the kernel
_STATE, _STARTED = 0, 19  # fields of /proc/PID/stat behind the name
_DEAD = ("Z", "X", "x")


class Process(Value):
    """One life of a process: its number may be another one's later."""

    pid: int
    started: str


class Memory(Value):
    """What a watch has to know from one look to the next."""

    process: Process | None
    missed: bool  # it was never there, and that was said
    until_s: float  # it may be lacking


def serve(watcher: Watcher) -> None:
    """One that is not there when its grace has passed has ended; one that is there at the first look has appeared."""
    for now_s, watches in rounds(watcher):
        seen: dict[tuple[str | None, str | None], Process | None] = {}
        for watch in watches:
            if is_due(watch, now_s):
                look(watcher, watch, now_s, seen)


def look(
    watcher: Watcher, watch: Watch, now_s: float, seen: dict[tuple[str | None, str | None], Process | None]
) -> None:
    """Once. seen: in this round, by (pid_file, name): whoever has begun when one watch looked has for all."""
    before: Memory = watch.memory or Memory(None, False, now_s + watch["grace_s"])
    pid_file, name = watch.get("pid_file"), watch.get("name")
    if (pid_file, name) not in seen:
        seen[pid_file, name] = by_name(name) if pid_file is None else by_file(pid_file)
    found = seen[pid_file, name]
    # Of several processes with one name, only the last one's end counts.
    same = found == before.process if name is None else (found is None) == (before.process is None)
    missed = found is None and before.process is None and not before.missed and now_s >= before.until_s
    watch.memory = Memory(found, before.missed or missed, before.until_s)
    about = {"change": watch["change"], "process": name if pid_file is None else pid_file}
    if watch["change"] == "ended" and (missed or (before.process is not None and not same)):
        watcher.occurred(watch, pid=before.process.pid if before.process else 0, **about)
    elif watch["change"] == "appeared" and found is not None and not same:
        watcher.occurred(watch, pid=found.pid, **about)


def by_file(path: str) -> Process | None:
    """The process whose number the file begins with, if it is alive."""
    words = _text(path).split(None, 1)
    return alive(int(words[0])) if words and words[0].isascii() and words[0].isdigit() else None


def by_name(name: str) -> Process | None:
    """The one with the lowest number of those whose program is called that."""
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        if _text(f"/proc/{pid}/comm").rstrip("\n") == name[:NAME_SIZE_KEPT]:
            first, _, _ = _text(f"/proc/{pid}/cmdline").partition("\0")
            found = alive(pid) if len(name) <= NAME_SIZE_KEPT or first.rpartition("/")[2] == name else None
            if found is not None:
                return found
    return None


def alive(pid: int) -> Process | None:
    """That process; None: there is none, or it has ended and waits for its parent to notice."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return Process(pid, fields[_STARTED]) if len(fields) > _STARTED and fields[_STATE] not in _DEAD else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""


if __name__ == "__main__":
    run("process", serve)
