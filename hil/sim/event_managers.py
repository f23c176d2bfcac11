"""The event manager of each node: the core that guests run (``guestd/events``), beside its node's stack.

It is a program as any other: it registers over one connection, locks over a second one, and works on the services'
database through the mount. A node that stands still keeps what its event manager is to hear; a life that is over hears
nothing.

Faults that a correct cluster must survive: it dies alone, between any two things that it does, and begins anew a moment
later in the same life of its node; its commands that ran die with it, the services that it has started do not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from guestd.core.inputs import ProgramGone, ProgramMessage
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
from guestd.events.inputs import TICK_MS, Asked, CommandEnded, Gone, Heard, Left, Notified, Registered, StoreDone, Tick
from guestd.events.manager import EventManager
from guestd.notification import Notification, Transition
from hil.sim.commands import Commands
from hil.sim.randomness import child
from hil.sim.stores import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.services.database import Database
    from hil.sim.mounts import Mounts
    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue
    from hil.sim.trace import Trace

CONNECTIONS: Final = 3_000_000
"""Theirs are numbered from here on; each has two, one after the other."""
OWNERS: Final = 1 << 40
"""Their lock of the database has an owner from here on, apart from those of :mod:`hil.sim.filers`."""
NAME: Final = "event-manager"
LEVEL: Final = 40
ON_DEATH: Final = "hang"

_START_US_MAX: Final = 1_500_000
_AGAIN_US_MIN: Final = 50_000
_AGAIN_US_MAX: Final = 3_000_000
_WAY_US: Final = 100  # from a program to guestd and back
_OPERATION_US: Final = 30_000  # about what one on the database takes
_LOAD_MAX: Final = 400
_GROWN_SIZES: Final = (3000, 10_000, 1 << 18)
"""Bytes of the database from which on an event manager replaces it: none of these runs would come to the usual size."""


class Manager:
    """One process of one life of a node."""

    barriers: dict[str, int] = {}  # noqa: RUF012 - as it registers, always the same

    def __init__(self, node: Node, number: int, draw: random.Random) -> None:
        self.node = node
        self.life = node.life
        self.number = number  # of all
        self.name = NAME
        self.order = LEVEL
        self.draw = draw
        self.core: EventManager | None = None  # once it is registered
        self.store: Store | None = None
        self.asked_us: int | None = None  # when it asked the store for what it waits for
        self.ended = False
        self.left = False
        self.refused = ""
        self.notified: Sequence[tuple[int, int, str, int]] = ()  # by the last notification
        self.states: Sequence[str] = ()
        self.unacknowledged: dict[int, list[tuple[int, int, str, int]]] = {}
        self.load = draw.randint(0, _LOAD_MAX)

    @property
    def runs(self) -> bool:
        """Whether its node does, in the life in which it began, and it has not ended."""
        return self.node.stack is not None and self.node.life == self.life and not self.ended

    @property
    def works(self) -> bool:
        """Whether it is registered, and has not left."""
        return self.runs and self.core is not None and not self.left

    def shown(self) -> str:
        """What it is at, for people."""
        if self.core is None:
            return self.refused or "is not registered"
        services = self.core.services
        store = "" if self.store is None else f"; waits for {self.store.doing}"
        seen = ", ".join(f"{one.state.value} ({one.incarnation})" for one in services.view.seen)
        return f"knows transaction {services.database.number}; works on {self.unacknowledged}{store}; sees {seen}"

    @property
    def database(self) -> Database | None:
        """As it knows it."""
        return None if self.core is None else self.core.services.database

    @property
    def connection(self) -> int:
        """Over which it is registered; the next one is for its locks."""
        return CONNECTIONS + 2 * self.number


class EventManagers:
    """All of them.

    ``on_told`` hears of each notification, ``on_answer`` what an administrator is answered, ``on_store`` how each
    operation on the database has ended, before its event manager does, ``on_emit`` what they tell the host.
    """

    def __init__(
        self,
        queue: Queue,
        randomness: random.Random,
        options: Options,
        trace: Trace,
        mounts: Mounts,
        commands: Commands,
    ) -> None:
        self.all: list[Manager] = []
        self.commands = commands
        self.on_store: list[Callable[[Manager, Any, StoreDone], None]] = []
        self.on_emit: list[Callable[[Manager, str, dict[str, Any]], None]] = []
        self.on_told: Callable[[Manager, tuple[int, int, str, int]], None] = lambda _manager, _told: None
        self.on_answer: Callable[[int, dict[str, Any]], None] = lambda _connection, _message: None
        self.counts = {"died": 0, "refused": 0}
        self.enabled = True  # the faults are
        self._nodes = options.nodes
        self._queue = queue
        self._trace = trace
        self._mounts = mounts
        self._random = [child(randomness) for _ in range(options.nodes)]
        self._ill = [child(randomness) for _ in range(options.nodes)]
        self._at_work = [child(randomness) for _ in range(options.nodes)]  # of what goes wrong with the database
        self._share = options.manager_share / 1000
        self._store_share = options.store_share / 1000
        self.wanted = options.services > 0
        """On nodes that boot from now on."""

    def start(self, node: Node) -> None:
        """After a boot."""
        if self.wanted:
            delay_us = self._random[node.number].randint(0, _START_US_MAX)
            self._queue.after(delay_us, self._begin, node, node.life)

    def over(self, node: Node) -> None:
        """That life has ended."""
        self.commands.node_over(node)

    def of_number(self, number: int) -> Manager | None:
        """The one that runs on that node and is registered."""
        for manager in reversed(self.all):
            if manager.node.number == number:
                return manager if manager.works else None
        return None

    def answer(self, node: Node, connection: int, message: dict[str, Any]) -> None:
        """A node says something to one of them; over a socket, so in order."""
        number, locks = divmod(connection - CONNECTIONS, 2)
        told = json.loads(json.dumps(message))
        self._queue.after(_WAY_US, self._heard_lock if locks else self._heard, self.all[number], told)

    def ask(self, manager: Manager, connection: int, message: dict[str, Any]) -> None:
        """An administrator or a watcher says something to it."""
        self._queue.after(_WAY_US, self.give, manager, Asked(connection, message))

    def hang_up(self, manager: Manager, connection: int) -> None:
        """The other end of a connection has gone."""
        self._queue.after(_WAY_US, self.give, manager, Gone(connection))

    # -- life and death

    def _begin(self, node: Node, life: int) -> None:
        if node.life != life or node.stack is None:
            return
        manager = Manager(node, len(self.all), child(self._random[node.number]))
        draw = child(self._random[node.number])
        done = partial(self._store_done, manager)
        manager.store = Store(node, self._mounts, OWNERS + manager.number, draw, done)
        self.all.append(manager)
        self._trace.tell(node.number, "event manager begins")
        self._say(manager, {"register": {"name": NAME, "order": LEVEL, "on_death": ON_DEATH}})

    def _die(self, manager: Manager) -> None:
        self.counts["died"] += 1
        node = manager.node
        self._trace.tell(node.number, "event manager dies")
        self._end(manager)
        for connection in (manager.connection, manager.connection + 1):
            self._queue.after(_WAY_US, node.give, manager.life, ProgramGone(connection))
        delay_us = self._ill[node.number].randint(_AGAIN_US_MIN, _AGAIN_US_MAX)
        self._queue.after(delay_us, self._begin, node, manager.life)

    def _end(self, manager: Manager) -> None:
        manager.ended = True
        self.commands.owner_over(manager.number)
        if manager.store is not None:
            manager.store.kill()

    def _tick(self, manager: Manager) -> None:
        if not manager.runs or manager.left:
            return
        if self.enabled:
            manager.load = min(_LOAD_MAX, max(0, manager.load + manager.draw.randint(-20, 20)))
        if manager.node.frozen is None:
            self.give(manager, Tick(manager.load))
        self._queue.after(manager.node.lasts_us(TICK_MS), self._tick, manager)

    # -- what it hears

    def give(self, manager: Manager, given: Any) -> None:
        """An input, and what it does then."""
        if not manager.runs or manager.core is None:
            return
        node = manager.node
        if node.frozen is not None:
            node.keep(self.give, manager, given)
            return
        effects = manager.core.handle(given, node.clock_ms)
        if self._trace.recording and effects and not isinstance(given, Tick):
            self._trace.remark(node.number, f"event manager: {given} -> {' '.join(map(str, effects))}"[:1000])
        dies_at = self._dies_at(manager, len(effects))
        for index, effect in enumerate(effects):
            if index == dies_at or not manager.runs:
                break
            self._carry_out(manager, effect)
        if dies_at >= 0 and manager.runs:
            self._die(manager)

    def _dies_at(self, manager: Manager, count: int) -> int:
        draw = self._ill[manager.node.number]
        if not count or not self._share or not self.enabled or draw.random() >= self._share:
            return -1
        return draw.randint(0, count)

    def _heard(self, manager: Manager, message: dict[str, Any]) -> None:
        """Over its first connection."""
        if not manager.runs:
            return
        node = manager.node
        if node.frozen is not None:
            node.keep(self._heard, manager, message)
            return
        if "registered" in message:
            again = any(one.node is node and one.life == node.life for one in self.all if one is not manager)
            manager.core = EventManager(node.number, self._nodes, again=again)
            if self._store_share:
                manager.core.services.database.grown_size = self._at_work[node.number].choice(_GROWN_SIZES)
            self.give(manager, Registered(node.number, self._nodes))
            self._tick(manager)
        elif "notification" in message:
            self._notified(manager, message["notification"])
        elif "closed" in message:
            self.give(manager, Left())
            manager.left = True
        elif "refused" in message:
            manager.refused = message["refused"]
            self.counts["refused"] += 1
        elif "error" in message and not (manager.core is not None and manager.core.services.leaving):
            # Of two acknowledgements at once the one of its own leave ends its registration.
            raise AssertionError(f"guestd does not understand its event manager: {message}")

    def _notified(self, manager: Manager, given: dict[str, Any]) -> None:
        transitions = [
            Transition(one["node"], one["incarnation"], one["transition"], one["barrier"])
            for one in given["transitions"]
        ]
        manager.notified = [(one.node, one.incarnation, one.transition, one.barrier) for one in transitions]
        manager.states = given["states"]
        manager.unacknowledged[given["number"]] = list(manager.notified)
        for told in manager.notified:
            self.on_told(manager, told)
        self.give(manager, Notified(Notification(given["number"], tuple(transitions), tuple(given["states"]))))

    def _heard_lock(self, manager: Manager, message: dict[str, Any]) -> None:
        self.give(manager, Heard(message))

    def _store_done(self, manager: Manager, effect: object, done: StoreDone) -> None:
        for hear in self.on_store:
            hear(manager, effect, done)
        manager.asked_us = None
        self.give(manager, done)

    def _command_ended(self, manager: Manager, ended: CommandEnded) -> None:
        self.give(manager, ended)

    # -- what it does

    def _carry_out(self, manager: Manager, effect: object) -> None:
        if isinstance(effect, Emit):
            for hear in self.on_emit:
                hear(manager, effect.kind, effect.fields)
            self._say(manager, {"emit": {"kind": effect.kind, **effect.fields}})
        elif isinstance(effect, (LockStore, UnlockStore, ReadStore, AppendStore, ReplaceStore)):
            assert manager.store is not None
            manager.asked_us = self._queue.now_us
            self._queue.after(0, self._operate, manager, effect)
        elif isinstance(effect, Acknowledge):
            manager.unacknowledged.pop(effect.number, None)
            self._say(manager, {"acknowledge": effect.number})
        elif isinstance(effect, Working):
            self._say(manager, {"working": effect.number})
        elif isinstance(effect, Expel):
            self._trace.tell(manager.node.number, f"event manager expels its node: {effect.reason}")
            self._say(manager, {"expel": effect.reason})
        elif isinstance(effect, Say):
            self._say(manager, effect.message, locks=True)
        elif isinstance(effect, RunCommand):
            self.commands.run(manager.node, manager.number, effect, partial(self._command_ended, manager))
        elif isinstance(effect, KillCommand):
            self._queue.after(0, self.commands.kill, manager.number, effect.number)
        elif isinstance(effect, Answer):
            self._queue.after(_WAY_US, self.on_answer, effect.connection, json.loads(json.dumps(effect.message)))
        else:  # a watcher finds nothing; nobody minds that a connection ends
            assert isinstance(effect, (StartWatcher, HangUp)), effect

    def _operate(self, manager: Manager, effect: Any) -> None:
        if manager.runs and manager.store is not None:
            manager.store.carry_out(effect)
            draw = self._at_work[manager.node.number]
            if self._store_share and self.enabled and draw.random() < self._store_share:
                self._queue.after(draw.randint(0, _OPERATION_US), self._dies_at_work, manager)

    def _dies_at_work(self, manager: Manager) -> None:
        """In the middle of an operation on the database, perhaps."""
        if manager.runs and self.enabled and manager.node.frozen is None:
            self._die(manager)

    def _say(self, manager: Manager, message: dict[str, Any], *, locks: bool = False) -> None:
        line = ProgramMessage(manager.connection + int(locks), json.dumps(message))
        self._queue.after(_WAY_US, manager.node.give, manager.life, line)
