"""The loop of the event manager: hands everything that happens to the core, and carries out what that asks for."""

from __future__ import annotations

import os
import select
import sys
import time

from guestd.client import Misused
from guestd.core import json
from guestd.events.effects import (
    Acknowledge,
    Answer,
    AppendStore,
    Emit,
    Expel,
    HangUp,
    KillCommand,
    LockStore,
    ReadStore,
    ReplaceStore,
    RunCommand,
    Say,
    StartWatcher,
    UnlockStore,
    Working,
)
from guestd.events.inputs import TICK_MS, Asked, Gone, Heard, Left, Notified, Registered, Tick
from guestd.runtime.event_manager.watchers import watcher_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from guestd.client import Registration
    from guestd.connection import Connection
    from guestd.core.inputs import Input as SocketInput
    from guestd.events.inputs import Input
    from guestd.notification import Notification
    from guestd.runtime.event_manager.commands import Commands
    from guestd.runtime.event_manager.store import Store
    from guestd.runtime.program_socket import ProgramSocket

    class Core(Protocol):
        """What decides: `guestd.events.manager.EventManager`."""

        def handle(self, given: Input, now_ms: int) -> Sequence[object]:
            """Take one input; what is to be done, in this order."""


LOAD_PATH = "/proc/loadavg"
REASON_LENGTH_MAX = 400  # of what is said of a node that must not go on (docs/programs.md)
LEGAL = 'a JSON object: {"service": {"do": ...}} or {"event": {"do": ...}}'
_STORE = (LockStore, UnlockStore, ReadStore, AppendStore, ReplaceStore)


class Loop:
    """Runs one core from its registration until its node has left."""

    def __init__(
        self,
        core: Core,
        registration: Registration,
        locking: Connection,
        programs: ProgramSocket,
        store: Store,
        commands: Commands,
    ) -> None:
        """locking: the connection to guestd over which it locks. programs: the event manager's own socket."""
        self._core = core
        self._registration = registration
        self._locking = locking
        self._programs = programs
        self._store = store
        self._commands = commands
        self._open: dict[int, Notification] = {}  # not acknowledged, by number
        self._left = False
        self._poll = select.poll()
        self._registered: dict[int, int] = {}

    def run(self) -> None:
        """Returns when the node has left. Raises Disconnected when guestd has gone."""
        self._give(Registered(self._registration.node, self._registration.nodes))
        self._take_notifications()  # one may have come with the answer to the registration
        due_ms = _now_ms()
        while not self._left:
            ready = self._wait(due_ms)
            if self._registration.fileno() in ready:
                self._take_notifications()
            if self._locking.fileno() in ready:
                self._take_heard()
            if self._store.fileno() in ready:
                for done in self._store.take():
                    self._give(done)
            for ended in self._commands.take(ready, _now_ms()):
                self._give(ended)
            for said in self._programs.take(ready):
                self._give_said(said)
            if _now_ms() >= due_ms:
                self._give(Tick(_load()))
                due_ms = max(due_ms + TICK_MS, _now_ms())  # late ticks are not made up for
            self._programs.flush()

    def _wait(self, due_ms: int) -> set[int]:
        commands_ms = self._commands.due_ms()
        next_ms = due_ms if commands_ms is None else min(due_ms, commands_ms)
        wanted = {
            **dict.fromkeys((self._registration.fileno(), self._locking.fileno(), self._store.fileno()), select.POLLIN),
            **self._commands.wanted(),
            **self._programs.wanted(),
        }
        for fd in self._registered.keys() - wanted.keys():
            self._poll.unregister(fd)
        for fd, events in wanted.items():
            if self._registered.get(fd) != events:
                self._poll.register(fd, events)
        self._registered = wanted
        return {fd for fd, _ in self._poll.poll(0 if self._programs.has_more else max(0, next_ms - _now_ms()))}

    def _take_notifications(self) -> None:
        while not self._left:
            try:
                notification = self._registration.wait(0)
            except TimeoutError:
                return
            except Misused as why:  # a fault of the core's; what it would have said is lost
                _complain(str(why))
                continue
            if notification is None:
                self._left = True
                self._give(Left())
                return
            self._open[notification.number] = notification
            self._give(Notified(notification))

    def _take_heard(self) -> None:
        while True:
            try:
                message = self._locking.read(0)
            except TimeoutError:
                return
            self._give(Heard(message))

    def _give_said(self, said: SocketInput) -> None:
        """A line of a program that is connected to the event manager's socket, or its end."""
        line = getattr(said, "line", None)
        connection: int = said.connection  # type: ignore[attr-defined]  # both kinds have it
        if line is None:
            self._give(Gone(connection))
            return
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict):
            self._give(Asked(connection, message))
        else:
            self._programs.answer(connection, {"error": f"{line[:80]!r} (legal: {LEGAL})"})

    def _give(self, given: Input) -> None:
        for effect in self._core.handle(given, _now_ms()):
            self._carry_out(effect)

    def _carry_out(self, effect: object) -> None:
        if isinstance(effect, Acknowledge):
            self._registration.acknowledge(self._open.pop(effect.number))
        elif isinstance(effect, Working):
            self._registration.working(self._open[effect.number])
        elif isinstance(effect, Emit):
            self._registration.emit(effect.kind, **effect.fields)
        elif isinstance(effect, Say):
            self._locking.send_all([effect.message])
        elif isinstance(effect, _STORE):
            self._store.submit(effect)
        elif isinstance(effect, RunCommand):
            timeout_ms = effect.timeout_ms
            self._commands.start(effect.number, effect.arguments, effect.environment, timeout_ms, _now_ms())
        elif isinstance(effect, StartWatcher):
            self._start_watcher(effect)
        elif isinstance(effect, KillCommand):
            self._commands.kill(effect.number, _now_ms())
        elif isinstance(effect, Answer):
            self._programs.answer(effect.connection, effect.message)
        elif isinstance(effect, HangUp):
            self._programs.hang_up(effect.connection)
        elif isinstance(effect, Expel):
            shown = "".join(one if one.isprintable() else " " for one in effect.reason[:REASON_LENGTH_MAX])
            self._registration.expel(shown or "no reason was given")
        else:
            raise TypeError(f"{effect!r} is no effect of an event manager")

    def _start_watcher(self, effect: StartWatcher) -> None:
        try:
            arguments = watcher_command(effect.name, self._programs.path)
        except LookupError as why:
            self._commands.refuse(effect.number, str(why))
        else:
            self._commands.start(effect.number, arguments, {}, None, _now_ms())


def _complain(text: str) -> None:
    print(f"hil: event manager: {text}", file=sys.stderr, flush=True)


def _load() -> int:
    """The load average of a minute, times 100."""
    try:
        fd = os.open(LOAD_PATH, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return round(float(os.read(fd, 100).split()[0]) * 100)
        finally:
            os.close(fd)
    except OSError:
        return 0


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
