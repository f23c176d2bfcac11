"""A process that is stopped stands in all its threads, and goes on in all (spec S10.5, S10.7)."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from hil.errors import InvalidRun
from hil.qemu import freeze

THREADS = "import threading, time; [threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(3)]; print()"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", f"{THREADS}; input()"], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_every_thread_stands_and_goes_on(process: subprocess.Popen[bytes]) -> None:
    assert len(freeze.thread_states(process.pid)) == 4
    freeze.stop_process(process.pid)
    assert set(freeze.thread_states(process.pid)) == {"T"}
    freeze.continue_process(process.pid)
    assert "T" not in freeze.thread_states(process.pid)


def test_a_process_that_has_ended_cannot_be_stopped(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    with pytest.raises(InvalidRun, match="ended before it got SIGSTOP"):
        freeze.stop_process(process.pid)


def test_a_freeze_that_does_not_take_hold_makes_the_run_invalid(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    while set(freeze.thread_states(process.pid)) != {"S"}:  # the one that said so may be on its way to sleep
        time.sleep(0.01)
    monkeypatch.setattr(freeze, "SETTLE_S", 0.1)
    monkeypatch.setattr("os.kill", lambda pid, number: None)
    with pytest.raises(InvalidRun, match="was to stand, but its threads are in the states S"):
        freeze.stop_process(process.pid)
