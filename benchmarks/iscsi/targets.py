"""The targets that are compared, each a process of its own at a free port of 127.0.0.1."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.iscsi.processes import need, on_cpu, started
from hil.errors import LaboratoryError

ROOT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 20.0
_TGT_NAME = "iqn.2026-11.hil:tgt"
_CONTROL_PORT = "1"  # tgt's name for a number at the end of the control socket's path


class RunningTarget(NamedTuple):
    """A logical unit at ``url``, served by process ``pid``."""

    url: str
    pid: int


@contextmanager
def ours(directory: Path, disk: Path, cpu: int | None, arguments: Sequence[str] = ()) -> Iterator[RunningTarget]:
    """``python -m hil.scsi`` with ``arguments`` besides. Raises ``LaboratoryError``."""
    ready, give = os.pipe()
    argv = [sys.executable, "-m", "hil.scsi", "--listen", "127.0.0.1:0", "--lun", str(disk), "--ready-fd", str(give)]
    log = directory / f"{disk.stem}.log"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with started(on_cpu(cpu, [*argv, *arguments]), log, pass_fds=[give], env=env) as process:
        os.close(give)
        with os.fdopen(ready, encoding="ascii") as stream:
            words = stream.readline().split()
        if words[:1] != ["ready"]:
            raise LaboratoryError(f"our target did not start:\n{log.read_text(errors='replace')[-2000:]}")
        yield RunningTarget(f"iscsi://{words[1]}/iqn.2026-11.hil:shared/0", process.pid)


@contextmanager
def tgt(directory: Path, disk: Path, cpu: int | None, tree: Path) -> Iterator[RunningTarget]:
    """``tgtd`` as Debian builds it, with its defaults. Raises ``LaboratoryError``.

    It takes orders only from uid 0, which an ordinary user is in a user namespace of his own.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    as_root = [] if os.geteuid() == 0 else [need("unshare", "util-linux"), "--map-root-user"]
    env = {**os.environ, "LD_LIBRARY_PATH": str(tree / "lib"), "TGT_IPC_SOCKET": str(directory / "tgt")}
    argv = [str(tree / "bin/tgtd"), "-f", "-C", _CONTROL_PORT, "--iscsi", f"portal=127.0.0.1:{port}"]
    log = directory / "tgtd.log"
    # The user namespace first: entering it, as every change of credentials, drops the wish to die with the parent.
    with started([*as_root, *on_cpu(cpu, argv)], log, env=env) as process:
        _wait_connectable(port, process, log)
        control = [*as_root, str(tree / "bin/tgtadm"), "-C", _CONTROL_PORT, "--lld", "iscsi"]
        for order in (
            f"--mode target --op new --tid 1 --targetname {_TGT_NAME}",
            f"--mode logicalunit --op new --tid 1 --lun 1 --backing-store {disk}",
            "--mode target --op bind --tid 1 --initiator-address 127.0.0.1",
        ):
            done = subprocess.run([*control, *order.split(" ")], env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise LaboratoryError(f"tgtadm {order}: {done.stderr.strip()}")
        yield RunningTarget(f"iscsi://127.0.0.1:{port}/{_TGT_NAME}/1", process.pid)


def tgt_version(tree: Path) -> str:
    """As ``tgtd`` says it."""
    env = {**os.environ, "LD_LIBRARY_PATH": str(tree / "lib")}
    argv = [str(tree / "bin/tgtd"), "--version"]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _wait_connectable(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise LaboratoryError(f"tgtd does not listen at port {port}:\n{log.read_text(errors='replace')[-2000:]}")
