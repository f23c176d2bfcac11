"""Processes of the benchmark: pinned to a CPU, measured through ``/proc``, and gone when the benchmark is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hil.errors import PreflightFailed

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Placement(NamedTuple):
    """Which CPU the targets run on, and which the initiators; None: the kernel's choice."""

    target: int | None
    initiator: int | None

    def __str__(self) -> str:
        if self.target is None:
            return "not pinned, there is one CPU"
        if self.target == self.initiator:
            return f"targets and initiator on CPU {self.target}"
        return f"targets on CPU {self.target}, initiator on CPU {self.initiator}"


def placement(*, together: bool) -> Placement:
    """Two CPUs of those that this process may use, or (``together``) one for both."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return Placement(None, None)
    return Placement(cpus[-1], cpus[-1] if together else cpus[0])


def need(program: str, package: str) -> str:
    """The path of a program. Raises ``PreflightFailed``, which names its Debian package."""
    found = shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if found is None:
        raise PreflightFailed(f"the program {program} is not installed: apt-get install {package}")
    return found


def on_cpu(cpu: int | None, argv: Sequence[str]) -> list[str]:
    """``argv`` pinned to ``cpu``, and killed by the kernel should the benchmark die without ending it."""
    pinned = [] if cpu is None else [need("taskset", "util-linux"), "--cpu-list", str(cpu)]
    return [need("setpriv", "util-linux"), "--pdeathsig", "KILL", *pinned, *argv]


@contextmanager
def started(
    argv: Sequence[str], log: Path, *, pass_fds: Sequence[int] = (), env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs until the block ends, then is killed: tgtd does not end at SIGTERM. What it says goes to ``log``."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=pass_fds, env=env
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far (proc(5), fields 14 and 15 of ``stat``), in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


class Neighbours:
    """What part of the machine's CPU time others took since this was made, the hypervisor's guests included.

    Ours are this process, its children that have ended, and the process ``pid``, which runs on.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = time.monotonic(), busy_seconds(), self._own_seconds()

    def _own_seconds(self) -> float:
        return sum(os.times()[:4]) + cpu_seconds(self._pid)

    def part(self) -> float:
        """0 to 1, of all processors."""
        began, busy, own = self._began
        elapsed = time.monotonic() - began
        return others_part(busy_seconds() - busy, self._own_seconds() - own, elapsed * (os.cpu_count() or 1))


def others_part(busy_s: float, own_s: float, elapsed_s: float) -> float:
    """Of ``elapsed_s`` seconds, summed over the processors; never below 0, though counters tick apart."""
    return min(max((busy_s - own_s) / elapsed_s, 0.0), 1.0) if elapsed_s else 0.0


def busy_seconds() -> float:
    """Of all processors: user, nice, system and stolen time (proc(5), ``stat``); interrupts are nobody's."""
    fields = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()
    return sum(int(fields[index]) for index in (1, 2, 3, 8)) / _TICKS_PER_S


def resident_bytes_max(pid: int) -> int:
    """The most memory that was ever resident (``VmHWM``), in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"no VmHWM of process {pid}"
    return int(found[1]) * 1024
