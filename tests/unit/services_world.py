"""Event managers of a few nodes with everything around them in memory: the framework at level 40, the database's file,
the lock of the bell, the commands. Nothing fails here but what a test wants to fail: see `World.fails`, `World.ends`.
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


class Fails(Exception):
    """An operation on the database fails."""

    def __init__(self, error: int, landed: float = 0) -> None:
        """landed: so much of what was to be written is in the file all the same, from 0 to 1."""
        super().__init__(error)
        self.error = error
        self.landed = landed


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
        self.answered: list[int] = []  # the connections of those
        self.table: dict[str, Any] = {}  # for tests: the service that they are about
        self.number = 0  # for tests: how many services were added
        self.loads = [0] * nodes
        self.working = [0] * nodes  # how often each has said that it works on a notification
        self.file = file
        self.identity = identity
        self.holder: int | None = None
        self.queue: list[tuple[int, int]] = []  # node, tag: who waits for the file lock
        self.writes = 0
        self.fails: Callable[[int, Any], None] = lambda _node, _effect: None
        """Raises Fails for an operation on the database that is to fail."""
        self.hangs: Callable[[int, Any], bool] = lambda _node, _effect: False
        """Whether an operation on the database is not answered for now."""
        self.ends: Callable[[int, Any], bool] = lambda _node, _effect: False
        """Whether the event manager of that node is killed when that effect was carried out."""
        self._hanging: list[tuple[int, Any]] = []  # of whom, which operation
        self._writing: tuple[int, bytes | None, bytes] | None = None  # node; the file before, and what it writes
        self._pending: list[tuple[int, Callable[[], None]]] = []  # of whom, what is next
        self._told: dict[tuple[int, int], tuple[Transition, ...]] = {}  # (node that is told, number)
        self._numbers = 0
        self._modes: dict[int, str] = {}  # of the bell: node -> mode
        self._waiting: list[tuple[int, str]] = []
        self._to_register: list[int] = []
        self._begun: set[tuple[int, int]] = set()  # node, incarnation: it has had an event manager

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
        self._transitions({node: "join"})

    def _register(self) -> None:
        """Whoever waits for that: it is told of all joins that have passed."""
        if any(state in STATES.values() for state in self.states):
            return
        waiting, self._to_register = self._to_register, []
        for node in waiting:
            if self.states[node] != "joined":
                continue
            life = (node, self.incarnations[node])
            self.managers[node] = EventManager(node, self.nodes, again=life in self._begun)
            self._begun.add(life)
            self.give(node, Registered(node, self.nodes))
            joined = [other for other, state in enumerate(self.states) if state == "joined"]
            joins = tuple(Transition(other, self.incarnations[other], "join", 0) for other in joined)
            self._numbers += 1
            states = tuple("joining" if other in joined else state for other, state in enumerate(self.states))
            self.give(node, Notified(Notification(self._numbers, joins, states)))

    def leave(self, *nodes: int) -> None:
        """A graceful leave begins; of several nodes in one notification."""
        self._transitions(dict.fromkeys(nodes, "leave"))

    def die(self, *nodes: int, leave: tuple[int, ...] = (), landed: float = 1) -> None:
        """The power is cut, and the others force them out; in the same notification others leave.

        landed: so much of what it was writing, and nobody has read, is in the file.
        """
        for node in nodes:
            self._tear(node, landed)
            self.managers.pop(node, None)
            self.commands = [one for one in self.commands if one.node != node]
            self._drop(node)
        self._transitions({**dict.fromkeys(leave, "leave"), **dict.fromkeys(nodes, "forced-leave")})

    def _tear(self, node: int, landed: float) -> None:
        if self._writing is None or self._writing[0] != node or landed >= 1:
            return
        _, before, data = self._writing
        self._writing = None
        if before is None:  # a file that was to take the place of the one before
            self.file = bytearray(data) if data else None
            self.identity += 1
        else:
            self.file = bytearray(before + data[: int(len(data) * landed)])

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

    def _transitions(self, wanted: dict[int, str]) -> None:
        """All of them in one notification to each node."""
        for subject, transition in wanted.items():
            self.states[subject] = STATES[transition]
        ones = tuple(Transition(node, self.incarnations[node], what, 0) for node, what in wanted.items())
        # What was told of them before does not count any more (spec S4.7).
        self._told = {key: tuple(one for one in told if one.node not in wanted) for key, told in self._told.items()}
        for node in list(self.managers):
            self._numbers += 1
            self._told[node, self._numbers] = ones
            self.give(node, Notified(Notification(self._numbers, ones, tuple(self.states))))
        for subject in wanted:
            self._complete(subject)

    def _complete(self, subject: int) -> None:
        waiting = [one for told in self._told.values() for one in told if one.node == subject]
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

    def answer_hanging(self) -> None:
        """Nothing hangs any more."""
        self.hangs = lambda _node, _effect: False
        hanging, self._hanging = self._hanging, []
        for node, effect in hanging:
            self._store(node, effect)

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
            if self.ends(node, effect):
                self.restart(node)
                return

    def _carry_out(self, node: int, effect: Any) -> None:
        if isinstance(effect, Acknowledge):
            told = self._told.pop((node, effect.number), None)
            if told is None:
                return
            for transition in told:
                self._pending.append((-1, lambda subject=transition.node: self._complete(subject)))  # type: ignore[misc]
        elif isinstance(effect, RunCommand):
            one = Command(node, effect)
            self.commands.append(one)
            self.history.append(one)
        elif isinstance(effect, Emit):
            self.events.append((node, effect.kind, effect.fields))
        elif isinstance(effect, Answer):
            self.answers.append(effect.message)
            self.answered.append(effect.connection)
        elif isinstance(effect, Expel):
            self.expelled.append((node, effect.reason))
        elif isinstance(effect, Say):
            self._bell(node, effect.message)
        elif isinstance(effect, Working):
            self.working[node] += 1
        else:
            self._store(node, effect)

    def _store(self, node: int, effect: Any) -> None:
        if self.hangs(node, effect):
            self._hanging.append((node, effect))
            return
        error, landed = 0, 1.0
        try:
            self.fails(node, effect)
        except Fails as why:
            error, landed = why.error, why.landed
        if isinstance(effect, LockStore) and not error:
            self.queue.append((node, effect.tag))
            self._next_holder()
            return
        data, identity = b"", 0
        if isinstance(effect, UnlockStore):
            assert self.holder == node
            self.holder = None
        elif isinstance(effect, ReadStore) and not error:
            if self._writing is not None and self._writing[0] != node:
                self._writing = None  # what another node has read is on the medium
            data = b"" if self.file is None else bytes(self.file[effect.offset :])
            identity = 0 if self.file is None else self.identity
        elif isinstance(effect, (AppendStore, ReplaceStore)):
            assert self.holder == node, "only who has the lock writes"
            identity = self._write(node, effect, landed)
        self._pending.append((node, lambda: self._answered(node, effect.tag, error, identity, data)))
        self._next_holder()

    def _write(self, node: int, effect: Any, landed: float) -> int:
        self.writes += 1
        if isinstance(effect, ReplaceStore):
            if landed < 1:
                return 0  # the new file has not taken the place of the old one
            self._writing = (node, None, bytes(self.file or b""))
            self.file = bytearray(effect.data)
            self.identity += 1
            return self.identity
        assert self.file is not None
        before = bytes(self.file[: effect.offset])
        self.file = bytearray(before + effect.data[: int(len(effect.data) * landed)])
        self._writing = (node, before, effect.data)
        return 0

    def _answered(self, node: int, tag: int, error: int, identity: int, data: bytes) -> None:
        if self._writing is not None and self._writing[0] == node:
            self._writing = None
        self._handle(node, StoreDone(tag, error, identity, b"" if error else data))

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
