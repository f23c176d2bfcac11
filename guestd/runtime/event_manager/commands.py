"""The commands that run on this node: each in a session of its own, for as long as its time is, or until it is killed.

A command has ended when its process was reaped, whatever still has its output open. If it has failed, was killed, or
its time was over, whoever is left of it is killed too, and it has ended when nobody is found any more. Of a command
that has succeeded the rest goes on: that is how a service starts.

A file per command that runs tells the next event manager what to kill if this one dies.
"""

from __future__ import annotations

import errno
import os
import select
import time

from guestd.events.inputs import CommandEnded
from guestd.runtime.event_manager.launch import NOT_STARTED_STATUS, Launched, launch
from guestd.runtime.event_manager.processes import MARK, kill, members, start_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OUTPUT_SIZE = 4096  # the end of what a command has written
READ_SIZE = 1 << 16  # as much as a pipe holds
AGAIN_MS = 10  # after a kill, until it is looked for who is left; twice that the next time
AGAIN_MS_MAX = 500


class _Command:
    """One that runs, or of which something may be left."""

    def __init__(self, number: int, name: str, mark: str, process: Launched, deadline_ms: int | None) -> None:
        self.number = number
        self.name = name
        self.mark = mark
        self.process = process
        self.deadline_ms = deadline_ms  # None: it has all the time
        self.failure = process.failure  # -1: it has become the command, or has said why not
        self.errno = 0
        self.output = b""
        self.status: int | None = None  # None: it was not reaped yet
        self.timed_out = False
        self.kill_ms: int | None = None  # when whoever is left is to be killed; None: that is not decided
        self.pause_ms = AGAIN_MS
        self.left: dict[int, int] = {}  # who was left at the last look, and when each was started


class Commands:
    """All of one event manager."""

    def __init__(self, directory: str) -> None:
        """directory: for the files that tell which commands run. Kills what an earlier event manager has left."""
        self.again = os.path.isdir(directory)  # it is on a tmpfs: an earlier one of this boot has made it
        os.makedirs(directory, exist_ok=True)
        clean_up(directory)
        self._directory = directory
        self._marked = f"{os.getpid()}-{time.monotonic_ns()}"
        self._commands: dict[int, _Command] = {}
        self._ended: list[CommandEnded] = []
        self._pipes: set[int] = set()  # of commands that have ended and left somebody who may write

    def start(
        self, number: int, arguments: Sequence[str], environment: Mapping[str, str], timeout_ms: int | None, now_ms: int
    ) -> None:
        """Its end is given by `take`, also if it cannot be started."""
        mark = f"{self._marked}-{number}"
        try:
            process = launch(arguments, {**environment, MARK: mark}, f"{self._directory}/{mark}")
        except OSError as why:
            reason = f"no process can be had: {os.strerror(why.errno or errno.EAGAIN)}"
            self._ended.append(CommandEnded(number, NOT_STARTED_STATUS, False, b"", reason))
            return
        deadline_ms = None if timeout_ms is None else now_ms + timeout_ms
        self._commands[number] = _Command(number, arguments[0] if arguments else "", mark, process, deadline_ms)

    def refuse(self, number: int, reason: str) -> None:
        """A command that cannot be: it has ended."""
        self._ended.append(CommandEnded(number, NOT_STARTED_STATUS, False, b"", reason))

    def kill(self, number: int, now_ms: int) -> None:
        """Kill that command, if it runs, and all that belongs to it."""
        command = self._commands.get(number)
        if command is not None and command.kill_ms is None:
            command.kill_ms = now_ms

    def wanted(self) -> dict[int, int]:
        """File descriptor -> events that are waited for."""
        wanted = dict.fromkeys(self._pipes, select.POLLIN)
        for command in self._commands.values():
            wanted[command.process.output] = select.POLLIN
            if command.failure >= 0:
                wanted[command.failure] = select.POLLIN
            if command.status is None:
                wanted[command.process.pidfd] = select.POLLIN
        wanted.pop(-1, None)
        return wanted

    def due_ms(self) -> int | None:
        """When `take` is to be called though no descriptor is ready; None: never. 0: at once."""
        if self._ended:
            return 0
        due = [
            command.kill_ms if command.kill_ms is not None else command.deadline_ms
            for command in self._commands.values()
        ]
        return min((one for one in due if one is not None), default=None)

    def take(self, ready: set[int], now_ms: int) -> list[CommandEnded]:
        """Do what is due; the commands that have ended."""
        for fd in ready & self._pipes:
            if not _read(fd):
                self._pipes.discard(fd)
                os.close(fd)
        for command in list(self._commands.values()):
            self._look(command, ready, now_ms)
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Kill all commands that run: nobody will hear of their ends."""
        for command in self._commands.values():
            _end(command.mark, command.process.pid)
            os.unlink(f"{self._directory}/{command.mark}")
        self._commands.clear()

    def _look(self, command: _Command, ready: set[int], now_ms: int) -> None:
        if command.process.output in ready:
            self._take_output(command)
        if command.failure in ready:
            self._take_failure(command)
        if command.status is None and command.process.pidfd in ready:
            self._reap(command, now_ms)
            if command.number not in self._commands:
                return
        late = command.deadline_ms is not None and now_ms >= command.deadline_ms
        if late and command.kill_ms is None:
            command.timed_out = True
            command.kill_ms = now_ms
        if command.kill_ms is not None and now_ms >= command.kill_ms:
            command.left = members(command.mark, command.process.pid, command.left)
            kill(command.left)
            if not command.left and command.status is not None:
                self._finish(command)
            else:
                command.kill_ms = now_ms + command.pause_ms
                command.pause_ms = min(2 * command.pause_ms, AGAIN_MS_MAX)

    def _reap(self, command: _Command, now_ms: int) -> None:
        _, status = os.waitpid(command.process.pid, 0)
        os.close(command.process.pidfd)
        command.status = os.waitstatus_to_exitcode(status)
        if command.failure >= 0:
            self._take_failure(command)
        self._take_output(command)
        if command.kill_ms is None and command.status == 0:
            self._finish(command)
        else:
            command.kill_ms = now_ms

    def _finish(self, command: _Command) -> None:
        """Nothing of it is left that has to be killed."""
        assert command.status is not None
        del self._commands[command.number]
        try:
            os.unlink(f"{self._directory}/{command.mark}")
        except FileNotFoundError:
            assert command.errno, "it was made before it was the command"
        if command.process.output >= 0:
            self._take_output(command)
        if command.process.output >= 0:
            self._pipes.add(command.process.output)  # who was left and writes must not die of it
        reason = f"{command.name}: {os.strerror(command.errno)}" if command.errno else ""
        status = NOT_STARTED_STATUS if command.errno else command.status
        self._ended.append(CommandEnded(command.number, status, command.timed_out, command.output, reason))

    def _take_output(self, command: _Command) -> None:
        """As much as a pipe holds; what writes faster has to wait for its turn."""
        fd = command.process.output
        data = b"" if fd < 0 else _read(fd)
        if data == b"":
            if fd >= 0:
                os.close(fd)
                command.process = _without_output(command.process)
        elif data is not None:
            command.output = (command.output + data)[-OUTPUT_SIZE:]

    @staticmethod
    def _take_failure(command: _Command) -> None:
        told = _read(command.failure)
        if told is None:
            return
        command.errno = int(told or b"0")
        os.close(command.failure)
        command.failure = -1


def clean_up(directory: str) -> None:
    """Kill what is left of the commands that ran when an earlier event manager died, and wait until it is gone."""
    for name in sorted(os.listdir(directory)):
        path = f"{directory}/{name}"
        with open(path, encoding="ascii", errors="replace") as file:
            words = file.read().split()
        leader = int(words[0]) if len(words) == 2 and all(word.isdecimal() for word in words) else None
        # A number that another process has now is no group of the command's any more.
        if leader is not None and start_of(leader) not in (None, int(words[1])):
            leader = None
        _end(name, leader)
        os.unlink(path)


def _end(mark: str, leader: int | None) -> None:
    pause_ms = AGAIN_MS
    left: dict[int, int] = {}
    while left := members(mark, leader, left):
        kill(left)
        time.sleep(pause_ms / 1000)
        pause_ms = min(2 * pause_ms, AGAIN_MS_MAX)


def _read(fd: int) -> bytes | None:
    """What there is; empty: it has ended; None: nothing now."""
    try:
        return os.read(fd, READ_SIZE)
    except BlockingIOError:
        return None


def _without_output(process: Launched) -> Launched:
    return Launched(process.pid, process.pidfd, -1, process.failure)
