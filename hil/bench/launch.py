"""Start a bench: one process per cluster, as the first of its own PID, mount and network namespace (design 2.1).

The chain of processes, each of which takes the rest down with it::

    hil up  ->  unshare --kill-child  ->  tini (process 1 in there)  ->  python -m hil.bench  ->  QEMU, SCSI target

tini reaps orphans (libvirt hangs for half a minute on zombie probes otherwise) and ends when the bench does; the
kernel then kills whatever is left in the PID namespace and with it the mounts, taps and bridges.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from hil import paths
from hil.bench import address
from hil.config import ClusterConfig
from hil.evidence import layout, manifest, retention
from hil.host import search_path

ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",  # it looks through all installed packages for some
}


def launch(config: ClusterConfig, settings: dict[str, object]) -> Path:
    """Start the bench of ``config`` and return its run directory; it listens at once, its work goes on by itself.

    ``settings`` is what the host found out beforehand: ``accelerator``, ``why``, ``image`` (directory), all of which
    go into ``cluster.json``. Raises :class:`hil.errors.AlreadyUp`.
    """
    limits = retention.Limits.of_environment()
    with address.listen(config.name) as listener:
        run_dir = paths.new_run_dir(config.name)
        asked = {"config": config.model_dump(), "settings": settings}
        (run_dir / layout.CLUSTER).write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
        with open(run_dir / layout.BENCH_LOG, "wb") as log:
            subprocess.run(
                _command(config.name, listener, run_dir),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                cwd="/",
                check=True,
                env=os.environ | ENVIRONMENT | {"PYTHONPATH": _python_path(), "PATH": search_path()},
            )
    # While the bench starts, which takes longer; a disk that is full it will find for itself.
    with contextlib.suppress(OSError):
        manifest.write(run_dir, manifest.describe(manifest.QEMU, config.model_dump(), settings))
    retention.prune(limits)
    return run_dir


def _command(name: str, listener: socket.socket, run_dir: Path) -> list[str]:
    # A session of its own, and nobody's child: it outlives whoever started it and leaves no zombie there.
    namespaces = ["setsid", "--fork", "unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net"]
    if os.getuid() != 0:
        namespaces += ["--user", "--map-root-user", "--map-auto"]
    bench = [sys.executable, "-m", "hil.bench", "--cluster", name]
    return [*namespaces, "--", "tini", "--", *bench, "--listen-fd", str(listener.fileno()), "--run-dir", str(run_dir)]


def _python_path() -> str:
    """The checkout that this code runs from, so that the bench runs the same one wherever it was called."""
    root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH", "")
    return f"{root}:{inherited}" if inherited else root
