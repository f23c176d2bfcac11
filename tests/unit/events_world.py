"""An event daemon in memory: watchers are connections without programs, commands end when a test says so."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from guestd.core.effects import Answer, Emit
from guestd.core.value import Value
from guestd.events.daemon import Circumstances, EventDaemon, Limits
from guestd.events.definition import checked, of_service
from guestd.events.effects import HangUp, KillCommand, RunCommand, StartWatcher
from guestd.events.group import Group
from guestd.events.inputs import TICK_MS, CommandEnded

EVERY = {"every_s": 1}


def event(name: str, watcher: str = "timer", given: Mapping[str, Any] = EVERY, **fields: Any) -> dict[str, Any]:
    return {"name": name, "watcher": watcher, "in": dict(given), "action": [f"/act/{name}"], **fields}


class World:
    """One daemon, on node 1."""

    def __init__(self, *tables: dict[str, Any], limits: Limits | None = None, started_ms: int = 1_000_000) -> None:
        self.now_ms = started_ms
        self.effects: list[Value] = []
        self.numbers = itertools.count(100)
        self.daemon = EventDaemon(1, self.effects.append, self.numbers.__next__, limits)
        self.wanted: dict[str, tuple[Group, bool]] = {}
        self.members: tuple[int, ...] = (0, 1, 2)
        self.registered: dict[str, tuple[int, ...]] = {}
        self._connections = itertools.count(1)
        self.daemon.tick(self.now_ms)
        if tables:
            self.define(*tables)

    def define(self, *tables: dict[str, Any]) -> None:
        for group in checked(tables, {}, nodes=3):
            self.wanted[f"group/{group.name}"] = (group, True)
        self.groups()

    def service(self, name: str, *events: dict[str, Any], registered: tuple[int, ...] = ()) -> None:
        self.wanted[f"service/{name}"] = (of_service(name, events, {}, nodes=3), True)
        self.registered[name] = registered
        self.groups()

    def groups(self) -> None:
        self.daemon.groups(self.wanted, Circumstances(self.members, dict(self.registered)), self.now_ms)

    def take(self, *kinds: type[Value]) -> list[Any]:
        """The effects of these kinds since the last call, out of all others' way."""
        taken = [effect for effect in self.effects if isinstance(effect, kinds)]
        self.effects[:] = [effect for effect in self.effects if not isinstance(effect, kinds)]
        return taken

    def emitted(self, kind: str) -> list[dict[str, Any]]:
        """What the host was told of that kind."""
        found = [effect.fields for effect in self.effects if isinstance(effect, Emit) and effect.kind == kind]
        self.effects[:] = [one for one in self.effects if not (isinstance(one, Emit) and one.kind == kind)]
        return found

    def told(self, connection: int) -> list[dict[str, Any]]:
        """What that watcher was told since the last call."""
        found = [one.message for one in self.effects if isinstance(one, Answer) and one.connection == connection]
        self.effects[:] = [
            one for one in self.effects if not (isinstance(one, Answer) and one.connection == connection)
        ]
        return found

    def connect(self, name: str, **declared: Any) -> int:
        """A watcher comes; its number."""
        connection = next(self._connections)
        assert self.say(connection, watcher={"name": name, **declared})
        return connection

    def say(self, connection: int, **message: Any) -> bool:
        return self.daemon.said(connection, message, self.now_ms)

    def started(self) -> list[StartWatcher]:
        return self.take(StartWatcher)

    def timer(self) -> int:
        """The timer's watcher is started, and connects."""
        assert [one.name for one in self.started()] == ["timer"]
        return self.connect("timer")

    def watch(self, connection: int) -> dict[str, int]:
        """The events that this watcher was told to watch for: their watches."""
        return {one["watch"]["event"]: one["watch"]["watch"] for one in self.told(connection) if "watch" in one}

    def runs(self) -> list[RunCommand]:
        return self.take(RunCommand)

    def kills(self) -> list[int]:
        return [one.number for one in self.take(KillCommand)]

    def hung_up(self) -> list[int]:
        return [one.connection for one in self.take(HangUp)]

    def end(self, number: int, status: int = 0, **fields: Any) -> None:
        """A command ends."""
        given = {"timed_out": False, "output": b"", **fields}
        assert self.daemon.command_ended(CommandEnded(number, status, **given), self.now_ms)

    def wait(self, ms: int, *answering: int) -> None:
        """Time passes, tick by tick; these watchers answer when they are asked."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms = min(until_ms, self.now_ms + TICK_MS)
            self.daemon.tick(self.now_ms)
            for connection in answering:
                pings = [one.message["ping"] for one in self.asked(connection)]
                for ping in pings:
                    self.say(connection, pong=ping)

    def asked(self, connection: int) -> list[Answer]:
        """The pings that this watcher has not been seen to answer; they are taken."""
        found = [
            one
            for one in self.effects
            if isinstance(one, Answer) and one.connection == connection and "ping" in one.message
        ]
        self.effects[:] = [one for one in self.effects if one not in found]
        return found

    def shown(self, name: str) -> dict[str, Any]:
        """An event, as `list` has it."""
        events = [one for group in self.daemon.shown()["groups"] for one in group["events"]]
        (found,) = [one for one in events if one["name"] == name]
        return dict(found)

    def watcher(self, name: str) -> dict[str, Any]:
        """A watcher, as `list` has it."""
        (found,) = [one for one in self.daemon.shown()["watchers"] if one["name"] == name]
        return dict(found)
