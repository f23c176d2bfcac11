"""Who belongs to a command: every process of its session and group, and whoever carries its mark in the environment.

A process leaves the group of its command when it becomes a daemon. It keeps its environment, and its children are found
by their parents. What gives up both is not found.
"""

from __future__ import annotations

import os
from _signal import SIGKILL  # type: ignore[import-not-found]  # `signal` would import enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MARK = "HIL_COMMAND"  # the name of the variable in the environment

_STATE, _PARENT, _GROUP, _SESSION, _START = 0, 1, 2, 3, 19  # fields of /proc/PID/stat, after the name


def start_of(pid: int) -> int | None:
    """When that process was started, in the kernel's own unit; None: there is none."""
    fields = _stat(pid)
    return None if fields is None else int(fields[_START])


def members(mark: str, leader: int | None, known: Mapping[int, int]) -> dict[int, int]:
    """The processes of a command that run, by number, and when each was started.

    leader: the number of its group; None: it may be another one's by now. known: those that were found before. Who was
    killed may take a while to end, and is nobody's child any more if its parent was quicker.
    """
    found: dict[int, int] = {}
    others: dict[int, tuple[int, int]] = {}  # process -> its parent; when it was started
    wanted = f"{MARK}={mark}".encode()
    for pid in _pids():
        fields = _stat(pid)
        if fields is None or fields[_STATE] in ("Z", "X") or pid == os.getpid():
            continue
        start = int(fields[_START])
        group = str(leader) in (fields[_GROUP], fields[_SESSION])
        if group or known.get(pid) == start or wanted in _environment(pid):
            found[pid] = start
        else:
            others[pid] = int(fields[_PARENT]), start
    grows = bool(found)
    while grows:
        children = {pid: start for pid, (parent, start) in others.items() if parent in found and pid not in found}
        found.update(children)
        grows = bool(children)
    return found


def kill(pids: Iterable[int]) -> None:
    """All of them, as far as they are still there."""
    for pid in pids:
        try:
            os.kill(pid, SIGKILL)
        except ProcessLookupError:
            continue


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdecimal():
            yield int(name)


def _stat(pid: int) -> list[str] | None:
    text = _contents(f"/proc/{pid}/stat")
    # The name may hold anything, a parenthesis too.
    return text.rpartition(b")")[2].decode().split() if text else None


def _environment(pid: int) -> list[bytes]:
    return _contents(f"/proc/{pid}/environ").split(b"\0")


def _contents(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    except OSError:  # it has ended meanwhile
        return b""
    finally:
        os.close(fd)
