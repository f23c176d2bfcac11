"""A program on a node whose output is read while it goes on: what it has said before its node died is known."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from hil.errors import ClaimFailed, LaboratoryError

if TYPE_CHECKING:
    from hil.client.node import Node

LOOK_S = 0.2
KEEPALIVE_S = 5
"""So that the end of a connection is noticed whose last packets were lost."""


class Running:
    """Begins at once. A shell command; both of its outputs are one.

    ``given``: the beginning of its standard input, which stays open until :meth:`stop`.
    """

    def __init__(self, node: Node, command: str, given: bytes = b"") -> None:
        self._node = node
        self._command = command
        self._given = given
        self._stopping = False
        self._said = b""
        self._status: int | None = None
        self._failed: LaboratoryError | None = None
        self._left = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"{self._command[-200:]!r} on node {self._node.id}"

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet, as far as is known."""
        return self._status is None and self._failed is None

    def lines(self, beginning: str = "") -> list[str]:
        """The whole lines so far that begin so, without that beginning."""
        with self._changed:
            text = self._said.rpartition(b"\n")[0].decode(errors="replace")
        return [line.removeprefix(beginning) for line in text.splitlines() if line.startswith(beginning)]

    def wait_lines(self, count: int, beginning: str = "", limit_s: float = 120.0) -> list[str]:
        """Until there are so many of them. Raises :class:`ClaimFailed` if the program ends before, or is too slow,
        :class:`LaboratoryError` if the connection to it fails.
        """
        end = time.monotonic() + limit_s
        with self._changed:
            while len(found := self.lines(beginning)) < count:
                self.check_runs()
                left = end - time.monotonic()
                if left <= 0:
                    wanted = f"{len(found)} of {count} lines {beginning!r}"
                    raise ClaimFailed(f"{self}: {wanted} in {limit_s:.0f} s: {self._told()}")
                self._changed.wait(left)
        return found

    def finish(self, limit_s: float = 240.0) -> list[str]:
        """All lines, when it has ended with status 0; else raises as :meth:`wait_lines`."""
        self._thread.join(limit_s)
        if self._thread.is_alive():
            raise ClaimFailed(f"{self} goes on after {limit_s:.0f} s: {self._told()}")
        self._raise_failure()
        if self._status != 0:
            raise ClaimFailed(f"{self} ended with status {self._status}: {self._told()}")
        return self.lines()

    def check_runs(self) -> None:
        """Raises as :meth:`wait_lines` if it has ended."""
        self._raise_failure()
        if not self.is_running:
            raise ClaimFailed(f"{self} ended with status {self._status}: {self._told()}")

    def leave(self) -> list[str]:
        """Its node has died: the whole lines that have come."""
        self._left = True
        self._thread.join()
        return self.lines()

    def abandon(self) -> None:
        """As :meth:`leave`, but without a wait: whatever else comes of it does not matter."""
        self._left = True

    def stop(self) -> None:
        """End its standard input: it is asked to end."""
        self._stopping = True

    # -- inner workings

    def _raise_failure(self) -> None:
        if self._failed is not None:
            raise LaboratoryError(f"{self}: {self._failed}")

    def _told(self) -> str:
        return self._said[-2000:].decode(errors="replace")

    def _read(self) -> None:
        try:
            with self._node.connection() as connection:
                connection.open()
                connection.transport.set_keepalive(KEEPALIVE_S)
                channel = connection.transport.open_session()
                channel.set_combine_stderr(combine=True)
                channel.settimeout(LOOK_S)
                channel.exec_command(self._command)
                channel.sendall(self._given)
                self._take(channel)
        except LaboratoryError as why:
            self._ended(None, why)

    def _take(self, channel: Any) -> None:
        told_to_stop = False
        while not self._left:
            if self._stopping and not told_to_stop:
                channel.shutdown_write()
                told_to_stop = True
            try:
                data = channel.recv(65536)
            except TimeoutError:
                continue
            if not data:
                self._ended(channel.recv_exit_status(), None)
                return
            with self._changed:
                self._said += data
                self._changed.notify_all()

    def _ended(self, status: int | None, why: LaboratoryError | None) -> None:
        with self._changed:
            self._status, self._failed = status, why
            self._changed.notify_all()
