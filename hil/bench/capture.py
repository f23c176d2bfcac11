"""The bench's capture of the interconnect (:mod:`hil.evidence.capture`): started before the machines, ended after."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hil.bench import namespace
from hil.bench.log import EventLog
from hil.errors import LaboratoryError
from hil.evidence import layout

END_TIMEOUT_S = 10.0


@contextlib.contextmanager
def captured(run_dir: Path, log: EventLog) -> Iterator[None]:
    """Every frame of the interconnect goes to the run's folder. Raises :class:`LaboratoryError` if it cannot."""
    command = [sys.executable, "-m", "hil.evidence.capture", "--interface", namespace.INTERCONNECT]
    command += ["--file", str(run_dir / layout.CAPTURE), "--zero-ns", str(log.zero_ns)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        if process.stdout.readline() != "ready\n":
            raise LaboratoryError("the interconnect cannot be captured; why is in bench.log")
        log.emit("capture-started", file=layout.CAPTURE)
        try:
            yield
        finally:
            process.terminate()
            try:
                said, _ = process.communicate(timeout=END_TIMEOUT_S)
                log.emit("capture-ended", **json.loads(said))
            except (subprocess.TimeoutExpired, ValueError):  # it was killed, or its disk is full: bench.log says more
                process.kill()
                log.emit("capture-ended", failed=True)
