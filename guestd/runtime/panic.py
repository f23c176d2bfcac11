"""Stops the kernel of this guest (spec S6.1). On any other machine it refuses."""

from __future__ import annotations

import os
import sys

from guestd.runtime.settings import is_guest

KMSG = "/dev/kmsg"
SYSRQ_ENABLE = "/proc/sys/kernel/sysrq"
SYSRQ_TRIGGER = "/proc/sysrq-trigger"
REFUSED_STATUS = 70


def panic(reason: str) -> int:
    """The reason to the console, at emergency level, then a kernel panic.

    Returns, with the exit status to end with, only if this process is not guestd of a guest, or if the kernel does not
    do as it is told: a node that was forced out must not go on either way.
    """
    line = f"hil: guestd: PANIC: {reason}"
    if not is_guest():
        print(f"{line} (this is no guest: its kernel is left alone)", file=sys.stderr, flush=True)
        return REFUSED_STATUS
    _write(KMSG, f"<0>{line}\n")
    _write(SYSRQ_ENABLE, "1\n")
    _write(SYSRQ_TRIGGER, "c")
    return REFUSED_STATUS


def _write(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as why:
        print(f"hil: guestd: {path}: {why}", file=sys.stderr, flush=True)
