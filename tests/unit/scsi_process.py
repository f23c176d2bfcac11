"""The target as a process of its own, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
TARGET = "iqn.2026-11.hil:shared"


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "hil.scsi", *arguments]


class TargetProcess:
    """``addresses``: HOST:PORT of each portal, in the order of the arguments."""

    def __init__(self, process: subprocess.Popen[str], addresses: list[str]) -> None:
        self.process = process
        self.addresses = addresses

    def url(self, portal: int = 0, lun: int = 0) -> str:
        return f"iscsi://{self.addresses[portal]}/{TARGET}/{lun}"

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Exit status and what it said."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=10)
        return self.process.returncode, said


@contextmanager
def running(*arguments: str) -> Iterator[TargetProcess]:
    """Waits for its line on the ready descriptor; fails with what it said when it ends before."""
    ready, give = os.pipe()
    process = subprocess.Popen(
        command_line(*arguments, "--ready-fd", str(give)),
        cwd=TREE,
        pass_fds=[give],
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(give)
    with os.fdopen(ready) as stream:
        line = stream.readline().split()
    assert line[:1] == ["ready"], process.communicate(timeout=10)[1]
    try:
        yield TargetProcess(process, line[1:])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)
