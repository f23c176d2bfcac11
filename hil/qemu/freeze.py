"""A node that stands still for a while, in both ways (spec S10.5).

* vcpu: libvirt stops the virtual processors. QEMU stops the guest's clocks with them: the guest sees no time pass.
* process: SIGSTOP to QEMU. Its clocks go on: the guest sees time jump at the thaw.

Every function verifies what it did and raises :class:`hil.errors.InvalidRun` if it did not take hold (spec S10.7).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from hil.errors import InvalidRun

WAYS = ("vcpu", "process")
SETTLE_S = 5.0  # the kernel stops the threads of a process one by one
SETTLE_PERIOD_S = 0.005  # nobody tells when the last one stands


def stop_process(pid: int) -> None:
    """SIGSTOP; returns when every thread stands."""
    _signal(pid, signal.SIGSTOP)
    _await(pid, stands=True)


def continue_process(pid: int) -> None:
    """SIGCONT; returns when no thread stands any more."""
    _signal(pid, signal.SIGCONT)
    _await(pid, stands=False)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise InvalidRun(f"QEMU (process {pid}) ended before it got {number.name}") from None


def _await(pid: int, *, stands: bool) -> None:
    deadline = time.monotonic() + SETTLE_S
    while any((state == "T") is not stands for state in thread_states(pid)):
        if time.monotonic() > deadline:
            raise InvalidRun(
                f"QEMU (process {pid}) was to {'stand' if stands else 'go on'}, but its threads are in the states "
                f"{', '.join(sorted(set(thread_states(pid))))}"
            )
        time.sleep(SETTLE_PERIOD_S)


def stands(pid: int) -> bool:
    """Whether every thread of the process stands."""
    states = thread_states(pid)
    return bool(states) and all(state == "T" for state in states)


def thread_states(pid: int) -> list[str]:
    """The states of a process' threads, a letter each (proc(5)); none if it is gone."""
    states = []
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            states.append(path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0])
        except OSError:  # this thread has ended
            continue
    return states
