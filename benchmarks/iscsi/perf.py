"""The load: ``iscsi-perf`` of libiscsi, for reads as it is, for writes with ``perf_writes.c`` preloaded."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.iscsi.processes import need, on_cpu
from hil.errors import LaboratoryError

BLOCKS = 8  # of 512 bytes
BLOCK_BYTES = 512
_SOURCE = Path(__file__).with_name("perf_writes.c")
_SLACK_S = 20.0  # for login and logout; a target that takes longer hangs


class Case(NamedTuple):
    """One kind of load; ``depth`` is the number of commands under way."""

    direction: str  # read, write
    access: str  # sequential, random
    depth: int


def compile_writes(include: Path, directory: Path) -> Path:
    """The library to preload; ``include`` holds libiscsi's headers. Raises ``LaboratoryError``."""
    library = directory / "perf_writes.so"
    argv = [need("gcc", "gcc"), "-O2", "-shared", "-fPIC", f"-I{include}", "-o", str(library), str(_SOURCE)]
    done = subprocess.run([*argv, "-l:libiscsi.so.7"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LaboratoryError(f"{_SOURCE.name} could not be compiled:\n{done.stderr[-2000:]}")
    return library


class Initiator:
    """Starts ``iscsi-perf`` on ``cpu``; ``writes`` is what ``compile_writes`` made."""

    def __init__(self, cpu: int | None, writes: Path) -> None:
        self._cpu = cpu
        self._writes = writes
        self._program = need("iscsi-perf", "libiscsi-bin")

    def start(self, url: str, case: Case, seconds: int, name: str = "iqn.2026-11.hil:load") -> subprocess.Popen[str]:
        """A load that ends by itself; ``name`` is the initiator's, to be different for those at the same time."""
        argv = [self._program, "-i", name, "-b", str(BLOCKS), "-m", str(case.depth), "-t", str(seconds)]
        argv += ["-r"] if case.access == "random" else []
        env = {**os.environ, "LC_ALL": "C"}
        if case.direction == "write":
            env["LD_PRELOAD"] = str(self._writes)
        return subprocess.Popen(
            on_cpu(self._cpu, [*argv, url]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=env,
        )

    def run(self, url: str, case: Case, seconds: int) -> int:
        """Commands per second. Raises ``LaboratoryError``."""
        [found] = collect([self.start(url, case, seconds)], seconds)
        return found


def collect(loads: Sequence[subprocess.Popen[str]], seconds: int) -> list[int]:
    """Waits for loads of this duration; commands per second of each. Raises ``LaboratoryError``."""
    try:
        return [_collect(load, seconds) for load in loads]
    finally:
        for load in loads:
            load.kill()
            load.communicate()


def _collect(load: subprocess.Popen[str], seconds: int) -> int:
    try:
        said, _ = load.communicate(timeout=seconds + _SLACK_S)
    except subprocess.TimeoutExpired:
        raise LaboratoryError(f"iscsi-perf did not end {_SLACK_S:.0f} s after its {seconds} s") from None
    averages = re.findall(r"iops average (\d+)", said)
    if load.returncode != 0 or not averages or averages[-1] == "0" or "failed" in said.lower():
        raise LaboratoryError(f"iscsi-perf ended with status {load.returncode}:\n{said[-1000:]}")
    return int(averages[-1])
