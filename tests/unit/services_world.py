"""Event managers of a few nodes with everything around them in memory: the framework at level 40, the database's file,
the lock of the bell, the commands. Nothing fails here and nothing is lost: that is the simulator's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from guestd.core.effects import Answer, Emit
from guestd.events.effects import (
    Acknowledge,
    AppendStore,
    Expel,
    LockStore,
    ReadStore,
    ReplaceStore,
    RunCommand,
    Say,
    UnlockStore,
    Working,
)
from guestd.events.inputs import Asked, CommandEnded, Heard, Notified, Registered, StoreDone, Tick
from guestd.events.manager import EventManager
from guestd.notification import Notification, Transition
from guestd.services.database import Database

STATES = {"join": "joining", "leave": "leaving", "forced-leave": "forced-leaving"}
LOCK_MODES = ("NL", "PR", "EX")
AFTER = {"join": "joined", "leave": "inactive", "forced-leave": "inactive"}


class Command:
    """One that runs."""

    def __init__(self, node: int, effect: RunCommand) -> None:
        self.node = node
        self.effect = effect
        self.service = effect.environment["HIL_SERVICE"]
        self.action = effect.environment["HIL_ACTION"]

    def __repr__(self) -> str:
        return f"{self.action} {self.service} on {self.node}"


class World:
    """Time stands still unless it is told to pass."""

    def __init__(
        self, nodes: int, incarnations: list[int] | None = None, file: bytearray | None = None, identity: int = 0
    ) -> None:
        self.nodes = nodes
        self.managers: dict[int, EventManager] = {}
        self.now_ms = 0
        self.states = ["inactive"] * nodes
        self.incarnations = incarnations or [0] * nodes
        self.commands: list[Command] = []
        self.history: list[Command] = []
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.expelled: list[tuple[int, str]] = []
        self.answers: list[dict[str, Any]] = []
        self.table: dict[str, Any] = {}  # for tests: the service that they are about
        self.number = 0  # for tests: how many services were added
        self.loads = [0] * nodes
        self.working = 0  # how often a notification was said to be worked on
        self.file = file
        self.identity = identity
        self.holder: int | None = None
        self.queue: list[tuple[int, int]] = []  # node, tag: who waits for the file lock
        self.writes = 0
        self._pending: list[tuple[int, Callable[[], None]]] = []  # of whom, what is next
        self._told: dict[tuple[int, int], Transition] = {}  # (node that is told, number)
        self._numbers = 0
        self._modes: dict[int, str] = {}  # of the bell: node -> mode
        self._waiting: list[tuple[int, str]] = []
        self._to_register: list[int] = []

    # -- the framework

    def join(self, node: int) -> None:
        """It joins, its event manager begins, and all acknowledge."""
        self.begin_join(node)
        self.run()
        assert self.states[node] == "joined", "not all have acknowledged"
        assert node in self.managers, "its event manager could not register"

    def begin_join(self, node: int) -> None:
        """It joins; its own event manager registers when it has, and no transition stands at its level (S4.12)."""
        self.incarnations[node] += 1
        self._to_register.append(node)
        self._transition(node, "join")

    def _register(self) -> None:
        """Whoever waits for that: it is told of all joins that have passed."""
        if any(state in STATES.values() for state in self.states):
            return
        waiting, self._to_register = self._to_register, []
        for node in waiting:
            if self.states[node] != "joined":
                continue
            self.managers[node] = EventManager(node, self.nodes)
            self.give(node, Registered(node, self.nodes))
            joined = [other for other, state in enumerate(self.states) if state == "joined"]
            joins = tuple(Transition(other, self.incarnations[other], "join", 0) for other in joined)
            self._numbers += 1
            states = tuple("joining" if other in joined else state for other, state in enumerate(self.states))
            self.give(node, Notified(Notification(self._numbers, joins, states)))

    def leave(self, node: int) -> None:
        """A graceful leave begins."""
        self._transition(node, "leave")

    def die(self, node: int) -> None:
        """The power is cut, and the others force it out."""
        self.managers.pop(node, None)
        self.commands = [one for one in self.commands if one.node != node]
        self._drop(node)
        self._transition(node, "forced-leave")

    def lose_power(self) -> None:
        """All of them at once; only the file is left."""
        self.__init__(self.nodes, self.incarnations, self.file, self.identity)  # type: ignore[misc]

    def restart(self, node: int) -> None:
        """The event manager of that node dies, with the commands that it runs, and begins again."""
        self.managers.pop(node)
        self.commands = [one for one in self.commands if one.node != node]
        self._drop(node)
        self._to_register.append(node)
        for other in range(self.nodes):
            self._complete(other)  # what it had not acknowledged counts as acknowledged
        self._register()

    def _drop(self, node: int) -> None:
        """What that event manager has said, and what it was told."""
        self._told = {key: one for key, one in self._told.items() if key[0] != node}
        self._modes.pop(node, None)
        self._waiting = [one for one in self._waiting if one[0] != node]
        self.queue = [one for one in self.queue if one[0] != node]
        self._pending = [one for one in self._pending if one[0] != node]
        if self.holder == node:
            self.holder = None
            self._next_holder()
        self._bell_goes_on()

    def _transition(self, subject: int, transition: str) -> None:
        self.states[subject] = STATES[transition]
        one = Transition(subject, self.incarnations[subject], transition, 0)
        self._told = {key: told for key, told in self._told.items() if told.node != subject}
        self._notify(list(self.managers), one)
        self._complete(subject)

    def _notify(self, nodes: list[int], one: Transition) -> None:
        for node in nodes:
            self._numbers += 1
            self._told[node, self._numbers] = one
            self.give(node, Notified(Notification(self._numbers, (one,), tuple(self.states))))

    def _complete(self, subject: int) -> None:
        waiting = [one for one in self._told.values() if one.node == subject]
        if waiting or self.states[subject] not in STATES.values():
            return
        transition = next(name for name, state in STATES.items() if state == self.states[subject])
        self.states[subject] = AFTER[transition]
        if self.states[subject] == "inactive":
            self.managers.pop(subject, None)
            self._drop(subject)
            for other, state in enumerate(self.states):
                if state in STATES.values():
                    self._complete(other)
        self._register()

    # -- time and inputs

    def give(self, node: int, given: object) -> None:
        """An input, when those before it were taken."""
        self._pending.append((node, lambda: self._handle(node, given)))

    def run(self) -> None:
        """Until nothing happens by itself."""
        for _ in range(100_000):
            if not self._pending:
                return
            self.steps(1)
        raise AssertionError("it does not come to rest")

    def steps(self, count: int) -> None:
        """So many inputs."""
        for _ in range(count):
            if self._pending:
                self._pending.pop(0)[1]()

    def wait(self, seconds: float) -> None:
        """Time passes, in ticks."""
        end_ms = self.now_ms + int(seconds * 1000)
        self.run()
        while self.now_ms < end_ms:
            self.now_ms += 250
            for node in list(self.managers):
                self.give(node, Tick(self.loads[node]))
            self.run()

    def settle(self) -> None:
        """Let whoever waits for others have its turn."""
        self.wait(3)

    def ask(self, node: int, /, **asked: Any) -> dict[str, Any]:
        """Ask for something of the services; the answer."""
        before = len(self.answers)
        self.give(node, Asked(1, {"service": asked}))
        self.run()
        assert len(self.answers) == before + 1, "there is one answer to each request"
        told: dict[str, Any] = self.answers[-1]["service"]
        return told

    def end(self, service: str, action: str, status: int = 0, node: int | None = None, **more: Any) -> Command:
        """That command ends."""
        (one,) = (
            one for one in self.commands if (one.service, one.action) == (service, action) and node in (None, one.node)
        )
        self.commands.remove(one)
        fields = {"timed_out": False, "output": b"", **more}
        self.give(one.node, CommandEnded(one.effect.number, status, **fields))
        self.settle()
        return one

    def end_all(self) -> None:
        """All commands end well, and those that follow from that."""
        while self.commands:
            for one in list(self.commands):
                self.commands.remove(one)
                self.give(one.node, CommandEnded(one.effect.number, 0, timed_out=False, output=b""))
            self.settle()

    def database(self) -> Database:
        """As it is in the file."""
        found = Database()
        found.take(1, bytes(self.file or b""))
        return found

    def running(self) -> list[str]:
        """The commands."""
        return sorted(map(repr, self.commands))

    def shown(self, name: str) -> dict[str, Any]:
        """As the first node that there is shows it."""
        return self.ask(next(iter(self.managers)), do="show", name=name)

    # -- effects

    def _handle(self, node: int, given: Any) -> None:
        if node not in self.managers:
            return
        for effect in self.managers[node].handle(given, self.now_ms):
            self._carry_out(node, effect)

    def _carry_out(self, node: int, effect: Any) -> None:
        if isinstance(effect, Acknowledge):
            told = self._told.pop((node, effect.number), None)
            if told is None:
                return
            subject = told.node
            self._pending.append((-1, lambda: self._complete(subject)))
        elif isinstance(effect, RunCommand):
            one = Command(node, effect)
            self.commands.append(one)
            self.history.append(one)
        elif isinstance(effect, Emit):
            self.events.append((node, effect.kind, effect.fields))
        elif isinstance(effect, Answer):
            self.answers.append(effect.message)
        elif isinstance(effect, Expel):
            self.expelled.append((node, effect.reason))
        elif isinstance(effect, Say):
            self._bell(node, effect.message)
        elif isinstance(effect, Working):
            self.working += 1
        else:
            self._store(node, effect)

    def _store(self, node: int, effect: Any) -> None:
        if isinstance(effect, LockStore):
            self.queue.append((node, effect.tag))
            self._next_holder()
            return
        data = b""
        if isinstance(effect, UnlockStore):
            assert self.holder == node
            self.holder = None
        elif isinstance(effect, ReadStore):
            data = b"" if self.file is None else bytes(self.file[effect.offset :])
        elif isinstance(effect, AppendStore):
            assert self.holder == node, "only who has the lock writes"
            assert self.file is not None
            self.writes += 1
            self.file[effect.offset :] = effect.data
        elif isinstance(effect, ReplaceStore):
            assert self.holder == node, "only who has the lock writes"
            self.writes += 1
            self.file = bytearray(effect.data)
            self.identity += 1
        self.give(node, StoreDone(effect.tag, 0, self.identity, data))
        self._next_holder()

    def _next_holder(self) -> None:
        if self.holder is None and self.queue:
            self.holder, tag = self.queue.pop(0)
            self.give(self.holder, StoreDone(tag, 0))

    def _bell(self, node: int, message: dict[str, Any]) -> None:
        ((_verb, asked),) = message.items()
        self._waiting.append((node, asked["mode"]))
        self._bell_goes_on()

    def _bell_goes_on(self) -> None:
        """To want less is granted at once; else first come, first served."""
        for node, mode in list(self._waiting):
            if LOCK_MODES.index(mode) <= LOCK_MODES.index(self._modes.get(node, "NL")):
                self._grant(node, mode)
        for node, mode in list(self._waiting):
            others = {other: one for other, one in self._modes.items() if other != node}
            if mode == "EX" and any(one != "NL" for one in others.values()):
                for other in [other for other, one in others.items() if one != "NL"]:
                    self.give(other, Heard({"blocks": {"id": 1, "mode": "EX"}}))
                return
            if mode == "PR" and "EX" in others.values():
                return
            self._grant(node, mode)

    def _grant(self, node: int, mode: str) -> None:
        self._waiting.remove((node, mode))
        self._modes[node] = mode
        self.give(node, Heard({"granted": {"id": 1, "mode": mode, "valid": True, "value": ""}}))
