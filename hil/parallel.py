"""Scenarios side by side: what the workers of pytest-xdist tell the process that started them, and how all of them end.

pytest-xdist runs the tests; its workers are processes, each with one cluster at a time. What it does not do:

* **Live lines.** Its own channel carries whole reports only. So the controller makes a pipe and hands its name in
  ``workerinput`` to each worker, which opens it by ``/proc``: no file, nothing left behind, and what a worker writes at
  once arrives in one piece.
* **An orderly end.** Interrupted, pytest-xdist gives its workers some seconds and then kills them, and a killed worker
  leaves its cluster running. So the controller interrupts the workers itself and waits until each has taken its
  cluster down; a cluster whose worker died is taken down by the controller.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import threading
from collections.abc import Iterator
from typing import Any, TextIO

import pytest

from hil import troubles
from hil.errors import HilError
from hil.runner import PROPERTY
from hil.verdict import Verdict

PIPE = "hil_pipe"
"""The key of ``workerinput`` for the pipe's path."""

LINE_MAX = 600
"""Characters: even if each of them needs six in JSON, the kernel writes the message in one piece (4096 bytes)."""

END_TIMEOUT_S = 90.0
"""For all workers to take their clusters down after an interruption; one cluster may take a minute (client)."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Whether this process hands its tests to workers."""
    return not is_worker(config) and config.getoption("dist", "no") != "no" and bool(config.getoption("tx", []))


class Worker:
    """The worker's end: says what goes on here, and ends in order when it is interrupted."""

    def __init__(self, config: pytest.Config) -> None:
        given: dict[str, Any] = config.workerinput  # type: ignore[attr-defined]
        self._id = given["workerid"]
        self._pipe: TextIO | None = None
        with contextlib.suppress(OSError):  # a worker on another machine runs without
            self._pipe = open(given.get(PIPE, ""), "w", encoding="utf-8")  # noqa: SIM115 - open as long as this process
        self._interrupted = False
        self._finished = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)
        self._send(pid=os.getpid())

    def _interrupt(self, *_: object) -> None:
        # A terminal's Ctrl-C comes from the kernel, from the controller and from execnet: the first one counts, the
        # others would only cut short what the first one has set going, the taking down.
        if not self._interrupted:
            self._interrupted = True
            raise KeyboardInterrupt

    def _send(self, **message: object) -> None:
        if self._pipe is None:
            return
        try:
            # One write of less than PIPE_BUF bytes: never mixed with another worker's.
            self._pipe.write(json.dumps({"worker": self._id, **message}) + "\n")
            self._pipe.flush()
        except OSError:  # the controller is gone; this worker is about to be told so
            self._pipe = None

    def say(self, line: str) -> None:
        """A line for people."""
        self._send(say=line[:LINE_MAX])

    def cluster_starts(self, name: str) -> None:
        """From now on ``name`` is to be taken down should this process die."""
        self._send(starts=name)

    def cluster_ended(self, name: str) -> None:
        """``name`` is gone, or is to be kept."""
        self._send(ended=name)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Iterator[None]:
        """All fixtures are torn down within; also after an interruption."""
        try:
            return (yield)
        finally:
            self._finish()

    def pytest_unconfigure(self) -> None:
        """Interrupted before there was a session: that is its end, too."""
        self._finish()

    def _finish(self) -> None:
        try:
            # pytest-xdist has told its end already, so the controller may interrupt whom it has not heard of: half a
            # message would be none, and it would wait for this process, which waits for it.
            self._interrupted = True
        finally:
            if not self._finished:
                self._finished = True
                self._send(finished=True)


class Controller:
    """The controller's end: prints the workers' lines, and sees that no cluster outlives the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self._pending = b""
        self._printing = threading.RLock()
        self._changed = threading.Condition()
        """Guards all below, and tells that a worker has finished or died."""
        self._workers: dict[str, int] = {}
        """Worker that has not finished to a descriptor of its process."""
        self._clusters: dict[str, set[str]] = {}
        """Worker to the clusters that it has started and not ended."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._read, selectors.EVENT_READ)
        self._over = False
        self._thread = threading.Thread(target=self._relay, name="workers", daemon=True)
        self._thread.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """A worker is about to start."""
        node.workerinput[PIPE] = f"/proc/{os.getpid()}/fd/{self._write}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker has ended; one that died has left its cluster."""
        if error:
            self._take_in()
            self._take_down(node.gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """A worker died in the middle of a test: nothing is known about the claim."""
        report.user_properties.append((PROPERTY, str(Verdict.LABORATORY_BROKE)))
        troubles.tell(report, Verdict.LABORATORY_BROKE, str(report.longrepr))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self) -> Iterator[None]:
        """pytest writes to the terminal: no line of a worker in between."""
        with self._printing:
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logfinish(self) -> Iterator[None]:
        """As :meth:`pytest_runtest_logreport`."""
        with self._printing:
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Iterator[None]:
        """Before pytest-xdist ends its workers, for whatever reason: have them take their clusters down."""
        try:
            self._take_in()
            self._end_workers()
            for worker in list(self._clusters):
                self._take_down(worker)
            return (yield)
        finally:
            self._over = True
            os.write(self._write, b'{"worker": ""}\n')  # wakes the other end up
            self._thread.join(END_TIMEOUT_S)
            self._selector.close()
            os.close(self._write)
            os.close(self._read)

    def _end_workers(self) -> None:
        """Interrupt each worker that has not finished, and wait until it has, or has died."""
        with self._changed:
            if not self._workers:
                return
            running = any(self._clusters.values())
            for process in self._workers.values():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, signal.SIGINT)
        if running:
            self._print("interrupted: all clusters are being taken down")
        with self._changed:
            self._changed.wait_for(lambda: not self._workers, END_TIMEOUT_S)

    def _take_down(self, worker: str) -> None:
        from hil.bench.address import running_clusters
        from hil.client import Cluster

        with self._changed:
            names = self._clusters.pop(worker, set())
        for name in names.intersection(running_clusters()):  # one that was refused never ran
            self._print(f"[{worker}] has ended without taking cluster {name} down: it is taken down now")
            with contextlib.suppress(HilError), Cluster.connect(name) as cluster:
                cluster.down()

    # -- what the workers say ------------------------------------------------------------------------------------

    def _relay(self) -> None:
        while not self._over:
            ready = {key.fd for key, _ in self._selector.select()}
            with self._changed:
                died = [worker for worker, process in self._workers.items() if process in ready]
            self._take_in()  # first what a worker that died had still said
            with self._changed:
                for worker in died:
                    self._forget(worker)

    def _take_in(self) -> None:
        """Take in all that the workers have said so far."""
        said = []
        with self._changed:
            while True:
                try:
                    data = os.read(self._read, 1 << 16)
                except BlockingIOError:
                    break
                *lines, self._pending = (self._pending + data).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    self._apply(message)
                    if "say" in message:
                        said.append(f"[{message['worker']}] {message['say']}")
        for text in said:
            self._print(text)

    def _apply(self, message: dict[str, Any]) -> None:
        worker = message["worker"]
        clusters = self._clusters.setdefault(worker, set())
        if "pid" in message:
            # A child of this process that nobody has waited for yet: the number is still its own.
            with contextlib.suppress(ProcessLookupError):
                self._workers[worker] = os.pidfd_open(message["pid"])
                self._selector.register(self._workers[worker], selectors.EVENT_READ)
        if "starts" in message:
            clusters.add(message["starts"])
        if "ended" in message:
            clusters.discard(message["ended"])
        if "finished" in message:
            self._forget(worker)

    def _forget(self, worker: str) -> None:
        process = self._workers.pop(worker, None)
        if process is not None:
            self._selector.unregister(process)
            os.close(process)
        self._changed.notify_all()

    def _print(self, line: str) -> None:
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            with self._printing:
                reporter.ensure_newline()
                reporter.write_line(line)
