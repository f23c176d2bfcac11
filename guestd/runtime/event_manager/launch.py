"""Starts the process of a command. All that may wait for long, as a file system that hangs, waits in the child."""

from __future__ import annotations

import errno
import os
from _signal import (  # type: ignore[import-not-found]  # `signal` would import enum
    SIG_DFL,
    SIGKILL,
    SIGPIPE,
    SIGXFSZ,
    signal,
)

from guestd.core.value import Value
from guestd.runtime.event_manager.processes import start_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
NOT_STARTED_STATUS = 127


class Launched(Value):
    """A child, and the ends of the pipes to it; all descriptors do not block."""

    pid: int
    pidfd: int  # readable when it has ended
    output: int  # what it writes to its standard output and standard error
    failure: int  # "ERRNO" if it could not become the command; ended, with nothing, when it has


def launch(arguments: Sequence[str], environment: Mapping[str, str], pid_file: str) -> Launched:
    """Raises OSError if not even a child can be had.

    pid_file: made by the child before it is the command; holds its number and when it was started.
    """
    output, output_in = os.pipe()
    failure, failure_in = os.pipe()
    parent, pid = os.getpid(), -1
    try:
        pid = os.fork()
        if pid == 0:
            _become(parent, arguments, environment, pid_file, output_in, failure_in)
        pidfd = os.pidfd_open(pid)
    except OSError:
        if pid > 0:  # nobody would wait for its end
            os.kill(pid, SIGKILL)
            os.waitpid(pid, 0)
        os.close(output)
        os.close(failure)
        raise
    finally:
        os.close(output_in)
        os.close(failure_in)
    os.set_blocking(output, False)
    os.set_blocking(failure, False)
    return Launched(pid, pidfd, output, failure)


def _become(
    parent: int,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    pid_file: str,
    output: int,
    failure: int,
) -> None:
    """The child. Never returns: whatever happens, it is no second event manager."""
    try:
        os.setsid()
        _note(pid_file)
        if os.getppid() != parent:
            os._exit(NOT_STARTED_STATUS)  # its successor may have looked for the file before it was there
        for number in (SIGPIPE, SIGXFSZ):
            signal(number, SIG_DFL)  # Python ignores them, and an ignored signal stays ignored
        null = os.open("/dev/null", os.O_RDONLY)
        for end, fd in ((null, 0), (output, 1), (output, 2)):
            os.dup2(end, fd)
        os.chdir("/")
        os.setpriority(os.PRIO_PROCESS, 0, 0)  # the event manager gives way to others, a service does not
        _execute(arguments, {"PATH": PATH, **environment})
    except OSError as why:
        os.write(failure, str(why.errno).encode())
    except ValueError:  # a null byte in an argument
        os.write(failure, str(errno.EINVAL).encode())
    finally:
        os._exit(NOT_STARTED_STATUS)


def _note(pid_file: str) -> None:
    fd = os.open(pid_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, f"{os.getpid()} {start_of(os.getpid())}\n".encode())
    finally:
        os.close(fd)


def _execute(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Returns never; raises OSError, of the files that it has found the more telling one."""
    file = arguments[0] if arguments else ""
    found = OSError(errno.ENOENT, file)
    for directory in [""] if "/" in file else environment["PATH"].split(":"):
        try:
            os.execve(f"{directory}/{file}" if directory else file, tuple(arguments), environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as why:
            found = why
    raise found
