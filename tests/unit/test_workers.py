"""Pools of processes: they end with their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil import workers

TREE = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0

OWNER = """
import os, time
from hil import workers
if __name__ == "__main__":
    with workers.pool(2) as pool:
        print(*{pool.submit(os.getpid).result() for _ in range(20)}, flush=True)
        time.sleep(1000)
"""


def test_what_is_to_be_done_first_is_done_first(tmp_path: Path) -> None:
    with workers.pool(1, os.chdir, str(tmp_path)) as pool:
        assert pool.submit(os.getcwd).result(LIMIT_S) == str(tmp_path)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_when_their_owner_is_killed(how: signal.Signals, tmp_path: Path) -> None:  # S10.1
    script = tmp_path / "owner.py"
    script.write_text(OWNER, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(TREE)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert pids
        owner.send_signal(how)
    deadline = time.monotonic() + LIMIT_S
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"{left} wait for work from an owner that is gone"
        time.sleep(0.05)
