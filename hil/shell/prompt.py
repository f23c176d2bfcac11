"""The prompt: Python as at its own, but that what hil refuses is one message and no traceback."""

from __future__ import annotations

import code
import contextlib
import readline
import rlcompleter
import signal
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

from hil.client import Cluster
from hil.errors import HilError
from hil.shell.history import keep_newest, kept_history
from hil.shell.names import banner, bound

PROMPT = "hil> "
CONTINUED = "...> "


class Prompt(code.InteractiveConsole):
    """On one cluster, whose view is as new as can be before each statement."""

    def __init__(self, cluster: Cluster) -> None:
        names = bound(cluster) | {"exit": _leave, "quit": _leave, "__name__": "__console__"}
        super().__init__(names, filename="<hil shell>")
        self._cluster = cluster

    def raw_input(self, prompt: str = "") -> str:
        """One line of a person."""
        line = input(prompt)
        if line.strip():
            keep_newest()
        return line

    def runcode(self, compiled: CodeType) -> None:
        """One statement."""
        try:
            if self._cluster.poll().stopping is None:
                self._cluster.catch_up()
        except HilError:
            self._take_in_what_came()
        super().runcode(compiled)

    def _take_in_what_came(self) -> None:
        """From a bench that does not answer any more."""
        try:
            self._cluster.poll()
        except HilError:
            self.showtraceback()

    def showtraceback(self) -> None:
        """What went wrong."""
        error = sys.exc_info()[1]
        if isinstance(error, HilError):
            self.write(f"{type(error).__name__}: {error}\n")
        elif isinstance(error, KeyboardInterrupt):
            self.write("\ninterrupted\n")
        else:
            super().showtraceback()


class Leave(SystemExit):
    """Ends the shell, and nothing else."""


def _leave(status: object = None) -> None:
    """End the shell; ``status``: the exit status of ``hil shell``."""
    raise Leave(status)


def interact(cluster: Cluster, *, head: str | None = None) -> int:
    """A prompt with ``cluster`` bound, until its end; the exit status that was asked for there.

    ``head``: what is said instead of the banner's first line. Raises ``KeyboardInterrupt`` on SIGTERM.
    """
    prompt = Prompt(cluster)
    said = banner(cluster) if head is None else f"{head}\n{banner(cluster)}"
    with kept_history(), _completion(prompt.locals), _ends_on_sigterm() as ended:
        sys.ps1, sys.ps2 = PROMPT, CONTINUED
        try:
            prompt.interact(said, exitmsg="")
        except SystemExit as end:
            if ended():
                raise KeyboardInterrupt from None
            return _status(end.code)
        finally:
            del sys.ps1, sys.ps2
    return 0


def _status(asked: object) -> int:
    """As the interpreter has it: None is 0, a number itself, anything else is said and is 1."""
    if asked is None or isinstance(asked, int):
        return asked or 0
    print(asked, file=sys.stderr)
    return 1


@contextlib.contextmanager
def _completion(names: dict[str, Any]) -> Iterator[None]:
    """Tab completes ``names`` and the attributes of what they stand for."""
    before = readline.get_completer()
    readline.set_completer(rlcompleter.Completer(names).complete)
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before)


@contextlib.contextmanager
def _ends_on_sigterm() -> Iterator[Callable[[], bool]]:
    """SIGTERM ends the shell, and not only the statement that runs; whether it did."""
    came = False

    def end(_signal: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        raise SystemExit

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGTERM, before)
