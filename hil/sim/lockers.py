"""Programs on the nodes that lock: a few resources, all modes, value blocks, sub-resources, in no sensible order.

They talk to their node's guestd over its socket, as any program (:mod:`guestd.locks`), and believe what it says: what
they may believe is the claim :mod:`hil.sim.claims.locks`.

Faults that a correct cluster must survive: a program that dies with locks and requests of any kind, two that take the
same two locks in opposite orders, one that does not let go when somebody waits.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, Final, Protocol

from guestd.core.inputs import ProgramGone, ProgramMessage
from guestd.dlm.modes import WRITES, Mode, is_down
from hil.sim.randomness import child

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue

CONNECTIONS: Final = 1_000_000
"""Their connections are numbered from here on."""

_NAMES: Final = (("disk",), ("queue",), ("disk", "one"), ("disk", "two"))
_MODES: Final = (Mode.NL, Mode.CR, Mode.CW, Mode.PR, Mode.PR, Mode.PW, Mode.EX, Mode.EX)
_STEP_US_MAX: Final = 1_500_000  # until a locker does something
_STEP_US_MIN: Final = 20_000
_POLITE_US_MAX: Final = 200_000  # until it lets go of what somebody waits for
_ANSWER_US: Final = 100
_AGAIN_US_MAX: Final = 2_000_000
_DIES_SHARE: Final = 0.01  # of its steps
_CANCELS_SHARE: Final = 0.2
_NOQUEUE_SHARE: Final = 0.2


class Lock:
    """One lock as its locker knows it."""

    def __init__(self, number: int, name: tuple[str, ...], above: Lock | None) -> None:
        self.number = number
        self.name = name
        self.above = above
        self.mode: Mode | None = None  # as it was last told
        self.wanted: Mode | None = None  # what it has asked for; itself: nothing
        self.leaving = False
        self.asked_us = 0

    @property
    def waits(self) -> bool:
        """Whether it has asked for something."""
        return self.wanted is not None


class Locker:
    """One program of one life of a node."""

    def __init__(self, node: Node, connection: int) -> None:
        self.node = node
        self.life = node.life
        self.connection = connection
        self.locks: dict[int, Lock] = {}
        self.last = 0
        self.ended = False

    @property
    def runs(self) -> bool:
        """Whether its node does, in the life in which it began, and it has not ended."""
        return self.node.stack is not None and self.node.life == self.life and not self.ended


class Listener(Protocol):
    """Hears what lockers rely on."""

    def granted(self, locker: Locker, lock: Lock, told: dict[str, Any]) -> None:
        """It was told that it holds a mode."""

    def denied(self, locker: Locker, lock: Lock, mode: Mode | None) -> None:
        """It was told that it does not get what it asked for, and holds that mode."""

    def gone(self, locker: Locker, lock: Lock) -> None:
        """It was told that its lock is gone."""

    def asks_less(self, locker: Locker, lock: Lock, mode: Mode | None, value: bytes | None) -> None:
        """It is about to ask for another mode, or to give it up (None)."""

    def ends(self, locker: Locker) -> None:
        """It ends, with all its locks."""


class Lockers:
    """All of them."""

    def __init__(self, queue: Queue, randomness: random.Random, options: Options) -> None:
        self.listener: Listener | None = None
        self.counts = {"granted": 0, "denied": 0, "deadlock": 0, "died": 0}
        self.enabled = True
        self.draining = False
        self._queue = queue
        self._random = [child(randomness) for _ in range(options.nodes)]
        self.count = options.lockers  # on each node, from its next boot on
        self._all: list[Locker] = []
        self._values = 0

    def start(self, node: Node) -> None:
        """After a boot."""
        for _ in range(self.count):
            self._queue.after(self._random[node.number].randint(0, _AGAIN_US_MAX), self._begin, node, node.life)

    def answer(self, node: Node, connection: int, message: dict[str, Any]) -> None:
        """A node says something to one of them; over a socket, so in order."""
        told = json.loads(json.dumps(message))
        self._queue.after(_ANSWER_US, self._hear, self._all[connection - CONNECTIONS], node, told)

    def drain(self) -> None:
        """From now on nobody asks for anything new, and all give up what they hold."""
        self.draining = True

    def left(self) -> str | None:
        """A lock of one that runs; None when all are gone."""
        for locker in self._all:
            for lock in locker.locks.values() if locker.runs else ():
                wants = "" if lock.wanted is None else f", waits {'for its end' if lock.leaving else lock.wanted.name}"
                held = "nothing" if lock.mode is None else lock.mode.name
                return f"a program on node {locker.node.number} holds {held} on {'/'.join(lock.name)}{wants}"
        return None

    def waiting(self) -> list[tuple[Locker, Lock, int]]:
        """Those that wait for an answer, and since when (µs)."""
        return [
            (locker, lock, lock.asked_us)
            for locker in self._all
            if locker.runs and locker.node.frozen is None
            for lock in locker.locks.values()
            if lock.waits
        ]

    # -- what they do

    def _begin(self, node: Node, life: int) -> None:
        if node.life != life or node.stack is None:
            return
        locker = Locker(node, CONNECTIONS + len(self._all))
        self._all.append(locker)
        self._later(locker)

    def _later(self, locker: Locker) -> None:
        delay_us = self._random[locker.node.number].randint(_STEP_US_MIN, _STEP_US_MAX)
        self._queue.after(delay_us, self._step, locker)

    def _step(self, locker: Locker) -> None:
        if not locker.runs:
            return
        if locker.node.frozen is None:
            draw = self._random[locker.node.number]
            if self.enabled and draw.random() < _DIES_SHARE:
                self._die(locker)
                return
            self._do_something(locker, draw)
        self._later(locker)

    def _do_something(self, locker: Locker, draw: random.Random) -> None:
        waiting = [lock for lock in locker.locks.values() if lock.waits]
        if waiting:
            if not self.draining and draw.random() < _CANCELS_SHARE and not waiting[0].leaving:
                self._say(locker, cancel={"id": waiting[0].number})
            return
        held = [lock for lock in locker.locks.values() if lock.mode is not None]
        if self.draining:
            for lock in held:
                self._yield(locker, lock)
        elif len(held) < 3 and draw.random() < 0.6 / (1 + len(held)) + 0.1:
            self._ask(locker, draw, held)
        elif held:
            lock = draw.choice(held)
            if draw.random() < 0.5 or any(other.above is lock for other in held):
                self._convert(locker, lock, draw.choice(_MODES), draw)
            else:
                self._release(locker, lock)

    def _ask(self, locker: Locker, draw: random.Random, held: list[Lock]) -> None:
        name = draw.choice(_NAMES)
        above = next((lock for lock in held if lock.name == name[:-1]), None)
        if len(name) > 1 and above is None:
            name = name[:1]
        locker.last += 1
        lock = locker.locks[locker.last] = Lock(locker.last, name, above if len(name) > 1 else None)
        lock.wanted, lock.asked_us = draw.choice(_MODES), self._queue.now_us
        asked: dict[str, Any] = {"id": lock.number, "name": list(name), "mode": lock.wanted.name}
        if lock.above is not None:
            asked["parent"] = lock.above.number
        asked["noqueue"] = draw.random() < _NOQUEUE_SHARE
        self._say(locker, lock=asked)

    def _convert(self, locker: Locker, lock: Lock, mode: Mode, draw: random.Random) -> None:
        assert lock.mode is not None, "only what is held is converted"
        leaves = lock.mode in WRITES and is_down(lock.mode, mode) and draw.random() < 0.7
        value = self._value() if leaves else None
        if self.listener is not None:
            self.listener.asks_less(locker, lock, mode, value)
        lock.wanted, lock.asked_us = mode, self._queue.now_us
        asked: dict[str, Any] = {"id": lock.number, "mode": mode.name, "noqueue": draw.random() < _NOQUEUE_SHARE}
        if value is not None:
            asked["value"] = value.hex()
        self._say(locker, convert=asked)

    def _release(self, locker: Locker, lock: Lock) -> None:
        value = self._value() if lock.mode in WRITES and self._random[locker.node.number].random() < 0.7 else None
        if self.listener is not None:
            self.listener.asks_less(locker, lock, None, value)
        lock.wanted, lock.leaving, lock.asked_us = lock.mode, True, self._queue.now_us
        self._say(locker, unlock={"id": lock.number, **({"value": value.hex()} if value is not None else {})})

    def _value(self) -> bytes:
        self._values += 1
        return self._values.to_bytes(64, "big")

    def _die(self, locker: Locker) -> None:
        self.counts["died"] += 1
        if self.listener is not None:
            self.listener.ends(locker)
        locker.ended = True
        node = locker.node
        node.give(locker.life, ProgramGone(locker.connection))
        self._queue.after(self._random[node.number].randint(1, _AGAIN_US_MAX), self._begin, node, locker.life)

    def _yield(self, locker: Locker, lock: Lock) -> None:
        """Somebody waits for it."""
        idle = locker.runs and locker.node.frozen is None and lock.number in locker.locks and not lock.waits
        if not idle or any(other.above is lock for other in locker.locks.values()):
            return
        if lock.mode is not None and (self.draining or lock.mode is not Mode.NL):
            self._release(locker, lock)

    def _say(self, locker: Locker, **message: Any) -> None:
        locker.node.give(locker.life, ProgramMessage(locker.connection, json.dumps(message)))

    # -- what they hear

    def _hear(self, locker: Locker, node: Node, message: dict[str, Any]) -> None:
        if not locker.runs or node.life != locker.life:
            return
        if node.frozen is not None:
            node.keep(self._hear, locker, node, message)
            return
        ((kind, told),) = message.items()
        lock = locker.locks.get(told.get("id"))
        if lock is None:
            return
        hear: dict[str, Callable[[Locker, Lock, dict[str, Any]], None]] = {
            "granted": self._granted,
            "denied": self._denied,
            "gone": self._gone,
            "blocks": self._blocks,
            "lock-error": self._refused,
        }
        hear[kind](locker, lock, told)

    def _granted(self, locker: Locker, lock: Lock, told: dict[str, Any]) -> None:
        self.counts["granted"] += 1
        lock.mode, lock.wanted = _mode(told["mode"]), None
        if self.listener is not None:
            self.listener.granted(locker, lock, told)

    def _denied(self, locker: Locker, lock: Lock, told: dict[str, Any]) -> None:
        self.counts["deadlock" if told["reason"] == "deadlock" else "denied"] += 1
        lock.mode, lock.wanted = None if told["mode"] is None else _mode(told["mode"]), None
        if lock.mode is None:
            del locker.locks[lock.number]
        if self.listener is not None:
            self.listener.denied(locker, lock, lock.mode)
        if told["reason"] == "deadlock":  # who is told gives something up
            for other in list(locker.locks.values()):
                self._yield(locker, other)

    def _gone(self, locker: Locker, lock: Lock, _told: dict[str, Any]) -> None:
        del locker.locks[lock.number]
        if self.listener is not None:
            self.listener.gone(locker, lock)

    def _blocks(self, locker: Locker, lock: Lock, _told: dict[str, Any]) -> None:
        delay_us = self._random[locker.node.number].randint(0, _POLITE_US_MAX)
        self._queue.after(delay_us, self._yield, locker, lock)

    def _refused(self, locker: Locker, lock: Lock, told: dict[str, Any]) -> None:
        """It is no member yet, or has left; or a cancel came when nothing waited any more."""
        if lock.mode is None and "is not a member" in told["why"]:
            del locker.locks[lock.number]


def _mode(name: str) -> Mode:
    return next(mode for mode in Mode if mode.name == name)
