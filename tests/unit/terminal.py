"""A program in a terminal of its own, for tests of what people see and type there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0


class Terminal:
    """What the program has written is :attr:`shown`; each :meth:`until` looks on from where the last one found."""

    def __init__(self, process: int, line: int) -> None:
        self.process = process
        self._line = line
        self.shown = ""
        self._at = 0
        self._status: int | None = None

    def type(self, text: str) -> None:
        """As at a keyboard."""
        os.write(self._line, text.encode())

    def until(self, words: str) -> str:
        """Wait until it has written ``words``; what it wrote before them."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.shown.find(words, self._at)) < 0:
            assert time.monotonic() < deadline, f"{words!r} not seen in {self.shown[self._at :]!r}"
            assert self._read(), f"ended without {words!r}: {self.shown[self._at :]!r}"
        before, self._at = self.shown[self._at : found], found + len(words)
        return before

    def terminated(self) -> int:
        """Its exit status after SIGTERM.

        Once more after a while: of a signal that comes between the prompt and the wait for a key the interpreter hears
        when the next key is pressed, or at the next signal.
        """
        os.kill(self.process, signal.SIGTERM)
        return self.status(again_after_s=20.0)

    def status(self, again_after_s: float | None = None) -> int:
        """Wait until it ends; its exit status."""
        deadline, again = time.monotonic() + PATIENCE_S, time.monotonic() + (again_after_s or PATIENCE_S)
        while self._read():
            if time.monotonic() > again:
                os.kill(self.process, signal.SIGTERM)
                again += PATIENCE_S
            assert time.monotonic() < deadline, f"does not end: {self.shown[-500:]!r}"
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return self._status

    def _read(self) -> bool:
        if not select.select([self._line], [], [], 1.0)[0]:
            return True
        try:
            data = os.read(self._line, 65536)
        except OSError:  # its end is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def close(self) -> None:
        """The end of a test: the program ends, too."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self._line)


@contextlib.contextmanager
def terminal(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path = TREE) -> Iterator[Terminal]:
    """``hil`` with these arguments, 80 by 24."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"TERM": "xterm-256color", "PYTHONPATH": str(TREE), **(env or {})}
    process, line = pty.fork()
    if process == 0:
        os.chdir(cwd)
        os.execve(sys.executable, [sys.executable, "-m", "hil.cli", *arguments], environment)
    fcntl.ioctl(line, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    one = Terminal(process, line)
    try:
        yield one
    finally:
        one.close()
