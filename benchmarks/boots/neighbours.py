"""What part of this machine others take while a cluster boots."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.iscsi.processes import busy_seconds, cpu_seconds, others_part


class Neighbours:
    """What part of the machine's CPU time others took since this was made, the hypervisor's guests included.

    Ours are this process, its children that have ended, and those that have the cluster's name on their command line:
    its bench, its disk and its machines. They must still run when :meth:`part` is asked.
    """

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster.encode()
        self._began = time.monotonic(), busy_seconds(), self._own_seconds()

    def part(self) -> float:
        """0 to 1, of all processors."""
        began, busy, own = self._began
        elapsed = time.monotonic() - began
        return others_part(busy_seconds() - busy, self._own_seconds() - own, elapsed * (os.cpu_count() or 1))

    def _own_seconds(self) -> float:
        total = sum(os.times()[:4])
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    if self._cluster in (process / "cmdline").read_bytes():
                        total += cpu_seconds(int(process.name))
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it ended in this moment
        return total
