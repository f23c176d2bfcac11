"""A small event manager for real watcher programs: the event daemon behind a real socket, with real commands."""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guestd.core.effects import Answer, Emit
from guestd.core.inputs import ProgramGone, ProgramMessage
from guestd.core.value import Value
from guestd.events.daemon import Circumstances, EventDaemon, Limits
from guestd.events.definition import checked
from guestd.events.effects import HangUp, KillCommand, RunCommand, StartWatcher
from guestd.events.group import Group
from guestd.events.inputs import CommandEnded
from guestd.runtime.program_socket import ProgramSocket

TREE = Path(__file__).resolve().parents[2]
STEP_S = 0.05
WAIT_S = 60.0  # on a machine that does much else; nothing waits for as long as that if it works


class Server:
    """Runs in the test's own thread, while it waits for something."""

    def __init__(self, directory: Path, limits: Limits | None = None, prefix: tuple[str, ...] = ()) -> None:
        """prefix: before the command of a watcher's program, such as what enters a namespace."""
        self.path = str(directory / "events.sock")
        self.socket = ProgramSocket(self.path)
        self.effects: list[Value] = []
        self.daemon = EventDaemon(1, self.effects.append, itertools.count(1).__next__, limits)
        self.emitted: list[tuple[str, dict[str, Any]]] = []
        self.runs: list[tuple[str, ...]] = []  # the arguments of the actions
        self.programs: dict[int, subprocess.Popen[bytes]] = {}
        self.names: dict[int, str] = {}  # of the watchers that were started, by the number of their command
        self.environment = dict(os.environ)
        self._prefix = prefix
        self._wanted: dict[str, tuple[Group, bool]] = {}

    def define(self, *tables: dict[str, Any]) -> None:
        """These event groups are enabled, no others."""
        self._wanted = {group.name: (group, True) for group in checked(tables, {}, nodes=3)}
        self.daemon.groups(self._wanted, Circumstances((0, 1, 2), {}), self.now_ms())
        self.step()

    @staticmethod
    def now_ms() -> int:
        return int(time.monotonic() * 1000)

    def wait(self, condition: Callable[[], object]) -> None:
        """Until that holds."""
        until_s = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < until_s, f"not within {WAIT_S} s; {self.daemon.shown()}; {self.runs}"
            self.step()

    def occurrences(self, count: int) -> list[tuple[str, ...]]:
        """The arguments of the actions that have run, when there are as many; these are taken."""
        self.wait(lambda: len(self.runs) >= count)
        taken, self.runs[:] = self.runs[:], []
        return taken

    def event(self, name: str) -> dict[str, Any]:
        """As `list` has it."""
        events = [one for group in self.daemon.shown()["groups"] for one in group["events"]]
        return next(one for one in events if one["name"] == name)

    def watched(self, *names: str) -> None:
        """Wait until the watchers of these events have been told."""
        self.wait(lambda: all(self.event(name)["state"] == "watched" for name in names))

    def step(self) -> None:
        """What has come in, and what has ended; waits a little for something."""
        poll = select.poll()
        for descriptor, events in self.socket.wanted().items():
            poll.register(descriptor, events)
        ready = {descriptor for descriptor, _ in poll.poll(STEP_S * 1000)}
        for given in self.socket.take(ready):
            if isinstance(given, ProgramMessage):
                message = json.loads(given.line)
                assert self.daemon.said(given.connection, message, self.now_ms()), message
            elif isinstance(given, ProgramGone):
                self.daemon.gone(given.connection, self.now_ms())
        for number, program in list(self.programs.items()):
            if program.poll() is not None:
                del self.programs[number]
                assert program.stderr is not None
                with program.stderr:
                    output = program.stderr.read()
                ended = CommandEnded(number, program.returncode, timed_out=False, output=output)
                assert self.daemon.command_ended(ended, self.now_ms())
        self.daemon.tick(self.now_ms())
        self._carry_out()
        self.socket.flush()

    def close(self) -> None:
        self.socket.close()
        for program in self.programs.values():
            program.kill()
            program.communicate()

    def _carry_out(self) -> None:
        while self.effects:
            effect = self.effects.pop(0)
            if isinstance(effect, Answer):
                self.socket.answer(effect.connection, effect.message)
            elif isinstance(effect, Emit):
                self.emitted.append((effect.kind, effect.fields))
            elif isinstance(effect, HangUp):
                self._hang_up(effect.connection)
            elif isinstance(effect, StartWatcher):
                self._start(effect)
            elif isinstance(effect, KillCommand) and effect.number in self.programs:
                self.programs[effect.number].kill()
            elif isinstance(effect, RunCommand):
                # An action: that it was asked for is what these tests look at.
                self.runs.append(effect.arguments)
                self.daemon.command_ended(CommandEnded(effect.number, 0, timed_out=False, output=b""), self.now_ms())

    def _start(self, effect: StartWatcher) -> None:
        self.names[effect.number] = effect.name
        program = str(TREE / "guestd" / "watchers" / f"{effect.name}.py")
        command = [*self._prefix, sys.executable, "-I", "-S", "-B", program, self.path]
        self.programs[effect.number] = subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE)

    def _hang_up(self, connection: int) -> None:
        self.socket.flush()
        self.socket.hang_up(connection)
