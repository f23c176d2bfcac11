"""How ``hil`` ends when something is wrong: one message on standard error, one exit status, a traceback only if asked.

======  =====================================================================================
status  meaning (design, "Commands")
======  =====================================================================================
0       passed
1       a claim failed
2       the request cannot be carried out as typed, or preflight refused it
3       the laboratory broke, or ``hil`` itself has a fault (then the traceback is on a file)
4       invalid: a fault did not take hold
130     interrupted (Ctrl-C)
141     nobody reads the output any more (``hil events | head``); what a shell says for SIGPIPE
======  =====================================================================================
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback

from hil.errors import HilError

BROKEN = 3
INTERRUPTED = 130
BROKEN_PIPE = 141

HOST_REMEDY = {
    errno.ENOSPC: "free some space, or set XDG_STATE_HOME and XDG_CACHE_HOME to a larger disk",
    errno.EDQUOT: "free some of your quota, or set XDG_STATE_HOME and XDG_CACHE_HOME to another disk",
    errno.EROFS: "set XDG_STATE_HOME and XDG_CACHE_HOME to a disk that can be written",
    errno.EACCES: "set XDG_STATE_HOME and XDG_CACHE_HOME to directories of yours",
}
"""What the host's file systems refuse is no fault of hil; what to do about it."""


def debugging() -> bool:
    """Whether tracebacks are shown: ``--debug``, or HIL_DEBUG set to anything but nothing and 0."""
    return os.environ.get("HIL_DEBUG", "") not in {"", "0"}


def status_of(error: BaseException) -> int:
    """The exit status that ``error`` stands for."""
    if isinstance(error, HilError):
        return error.exit_status
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    return BROKEN


def _is_meant_for_people(error: BaseException) -> bool:
    """Whether the text of ``error`` alone tells a person what to do."""
    builder = sys.modules.get("images.errors")  # not imported for its error type alone: most verbs do without it
    return isinstance(error, HilError) or (builder is not None and isinstance(error, builder.BuildError))


def report(error: BaseException) -> int:
    """Tell the user about ``error`` on standard error; the exit status."""
    status = status_of(error)
    if isinstance(error, BrokenPipeError):
        silence_stdout()
        return status
    if isinstance(error, KeyboardInterrupt):
        say("interrupted")
        return status
    if debugging():
        traceback.print_exception(error)
    if _is_meant_for_people(error):
        say(str(error) or type(error).__name__)
        return status
    if isinstance(error, OSError) and error.errno in HOST_REMEDY:
        where = f"{error.filename}: " if error.filename else ""
        say(f"{where}{error.strerror}\n  {HOST_REMEDY[error.errno]}")
        return status
    say(f"this is a fault of hil itself: {type(error).__name__}: {error}")
    if not debugging():
        say(_traceback_hint(error))
    return status


def say(message: str) -> None:
    """One message of ``hil`` on standard error."""
    print(f"hil: {message}", file=sys.stderr)


def silence_stdout() -> None:
    """Nobody reads standard output: let the interpreter's last flush go nowhere instead of complaining."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def _traceback_hint(error: BaseException) -> str:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="hil-traceback-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return "HIL_DEBUG=1 shows the traceback"
    return f"the traceback is in {file.name}; HIL_DEBUG=1 shows it"
