"""What the example services share: stamps of an instance's life, and a process that a start command leaves behind.

A stamp is a line of ``/shared/stamps/SERVICE``, written under a lock that holds between all nodes, so the numbers of
the lines put the lives of all instances in one order, with no clock: two instances at one instant are two whose lines
are between each other's.
"""

import fcntl
import os
import signal
import sys
import time

# Few modules, and no second interpreter: on an emulated processor each import is paid for with the start's time.

STAMPS = "/shared/stamps"
ALIVE_S = 1.0
END_S = 8.0


def stamp(event):
    """One more line, "N EVENT NODE INCARNATION REGISTRATION SECONDS", on the medium when this returns.

    The event is start, alive or end of this instance; the seconds are its node's own.
    """
    os.makedirs(STAMPS, exist_ok=True)
    who = " ".join(os.environ[f"HIL_{name}"] for name in ("NODE", "INCARNATION", "REGISTRATION"))
    file = os.open(f"{STAMPS}/{os.environ['HIL_SERVICE']}", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        tail = os.pread(file, 4096, max(0, size - 4096))
        whole = tail[: tail.rfind(b"\n") + 1]  # a node may have died while it wrote the last line
        last = whole.splitlines()[-1:] or [b"0"]
        end = size - (len(tail) - len(whole))
        os.ftruncate(file, end)
        os.pwrite(file, f"{int(last[0].split()[0]) + 1} {event} {who} {time.monotonic():.3f}\n".encode(), end)
        os.fsync(file)
    finally:
        os.close(file)  # which unlocks it


def write_whole(path, data):
    """A file with that in it takes the place of the one at ``path``; it is there for good when this returns."""
    with open(f"{path}.new", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.new", path)
    sync_directory(os.path.dirname(path))


def sync_directory(path):
    """What was made, renamed or removed in it is so for good."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Alive:
    """Stamps now and then that this instance lives, when it is asked to."""

    def __init__(self):
        self._due = 0.0

    def stamp(self):
        """If it is time."""
        if time.monotonic() >= self._due:
            stamp("alive")
            self._due = time.monotonic() + ALIVE_S

    def rest(self):
        """Seconds until the next one is due."""
        return max(0.0, self._due - time.monotonic())


# -- a process that the start command leaves behind


def _pid_file():
    return f"/run/hil-{os.environ['HIL_SERVICE']}.pid"


def leave_behind(serve, *arguments):
    """Call ``serve`` in a process of its own; return when that is ready. Raises SystemExit if it ends before.

    It stays in the group of the start command: if that fails or takes too long, it ends with it.
    """
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        _serve(serve, arguments, told)
    os.close(told)
    with open(_pid_file(), "w") as file:
        file.write(str(pid))
    if os.read(ready, 1) != b"+":
        sys.exit("the service ended before it was ready")


def _serve(serve, arguments, told):
    """In the child; never returns."""
    log = os.open(f"/run/hil-{os.environ['HIL_SERVICE']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, file in ((0, null), (1, log), (2, log)):
        os.dup2(file, number)

    def is_ready():
        os.write(told, b"+")
        os.close(told)

    status = 1
    try:
        serve(*arguments, is_ready)
        status = 0
    except Exception as error:  # noqa: BLE001 - the log is all that there is to be told
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def end_what_was_left():
    """End the process that the start command has left; fine if there is none. Raises SystemExit if it does not end."""
    try:
        with open(_pid_file()) as file:
            pid = int(file.read() or 0)
    except FileNotFoundError:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _send(pid, number):
            break
        if _await_end(pid):
            break
    else:
        sys.exit(f"process {pid} does not end")
    os.remove(_pid_file())


def _send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _await_end(pid):
    end = time.monotonic() + END_S
    while _runs(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _runs(pid):
    """Whether it does; one that has ended and that nobody has asked about (Z) does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Ended(Exception):
    """The stop command has asked this process to end."""


def end_on_request():
    """From now on SIGTERM raises :class:`Ended`."""

    def ended(number, frame):
        raise Ended

    signal.signal(signal.SIGTERM, ended)
