"""N lock managers in memory, over a network that loses, delays, doubles and overtakes, through joins, leaves and
deaths.

The framework is guestd's own: views, `coordinator.advance` and a `Participant` per node, with the lock manager's level
at 10 and one above it that takes its time to recover. What is simulated is the membership's master, which never dies
here, the time until a view and an acknowledgement are heard of, and the users of the locks.

A node that is forced out may go on for a while, as one does that was frozen: what it says counts for nothing any more.
`tests/unit/dlm_checks.py` looks at every event.
"""

from __future__ import annotations

import heapq
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from guestd.dlm.level import LockLevel
from guestd.dlm.manager import LockManager
from guestd.dlm.notices import Notice
from guestd.membership import view as views
from guestd.membership.position import Position
from guestd.membership.states import NodeState
from guestd.membership.view import View
from guestd.transition.coordinator import advance
from guestd.transition.levels import Levels
from guestd.transition.participant import Participant
from guestd.transition.seat import Seat
from guestd.transition.subsystem import Notification, Subsystem
from tests.unit.dlm_checks import Checks

CLUSTER_ID = bytes(range(16))
TICK_MS = 100


class Above(Subsystem):
    """The level above: what it recovers takes a while, as the world says."""

    def __init__(self, later: Callable[[Position], None]) -> None:
        super().__init__("above", order=20, real=True)
        self._later = later

    def notify(self, notification: Notification) -> tuple[Position, ...]:
        for position in notification.positions:
            self._later(position)
        return ()


@dataclass
class Options:
    """What a world is like. Times in milliseconds."""

    nodes: int = 3
    loss: float = 0.0
    double: float = 0.0
    delay_ms_max: int = 5
    view_ms_max: int = 150  # until a node has heard of a new view
    above_ms_max: int = 300  # until the level above has done its work
    notice_ms_max: int = 20  # until users hear of what they asked for


class Node:
    """One machine; `level` is there while a life of it runs."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.incarnation = 0
        self.level: LockLevel | None = None
        self.participant: Participant | None = None
        self.admitted = False
        self.frozen: list[Callable[[], None]] | None = None  # what happens to it meanwhile
        self.wants: list[Notice] = []
        self.seen: View | None = None

    @property
    def manager(self) -> LockManager | None:
        return self.level.manager if self.level else None


@dataclass
class World:
    """The laboratory; deterministic by its seed."""

    seed: int
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.now_ms = 0
        self.nodes = [Node(number) for number in range(self.options.nodes)]
        self.view = views.empty(self.options.nodes)
        subsystems = [Subsystem("membership", order=0, real=True), LockLevel(CLUSTER_ID, 0), self.sample_above()]
        self.levels = Levels([subsystem.level for subsystem in subsystems])
        self.acknowledged: dict[int, frozenset[Position]] = {}
        self.cut: set[tuple[int, int]] = set()
        self.checks = Checks(self)
        self.on_notice: Callable[[int, Notice], None] = lambda _node, _notice: None
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.datagram_count = 0
        self.digest = 0  # of all datagrams, in order
        self.step()

    def sample_above(self) -> Subsystem:
        """For the level above the lock manager."""
        return Above(lambda _: None)

    # -- time

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._count, action))

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        self.now_ms = end_ms

    def run_until(self, reached: Callable[[], object], within_ms: int = 60_000) -> int:
        begin_ms = self.now_ms
        while not reached():
            assert self.now_ms - begin_ms <= within_ms, f"not within {within_ms} ms: {self.described()}"
            self.run(20)
        return self.now_ms - begin_ms

    def described(self) -> str:
        """Why something does not come."""
        lines = [f"{self.now_ms} ms, seed {self.seed}"]
        for node in self.nodes:
            entry = self.view.entries[node.number]
            lines.append(f"node {node.number}: {entry}")
            if node.manager is not None:
                lines.append(f"   open {node.manager.spread.open}, members {node.manager.members}")
                for lock in node.manager.client.locks.values():
                    told = {name: getattr(lock, name) for name in ("name", "state", "mode", "wanted", "sent_to")}
                    lines.append(f"   lock {lock.number} of {lock.owner}: {told}")
        return "\n".join(lines)

    # -- the membership

    def power_on(self, number: int) -> None:
        """A new life; it is admitted when nothing is left to do after the last one (S4.10)."""
        node = self.nodes[number]
        assert node.level is None
        node.incarnation += 1
        node.admitted = False
        node.frozen = None
        node.seen = None
        level = node.level = LockLevel(CLUSTER_ID, number)
        subsystems = [Subsystem("membership", order=0, real=True), level, *self._above(number, level)]
        node.participant = Participant(number, self.options.nodes, self.levels, subsystems)
        self.after(self.random.randint(1, TICK_MS), lambda: self._tick(number, level))
        self._admit(number, level)

    def _above(self, number: int, level: LockLevel) -> list[Subsystem]:
        """The levels above on that node, for this life of it."""
        return [Above(lambda position: self._recover(number, level, position))]

    def _admit(self, number: int, level: LockLevel) -> None:
        node = self.nodes[number]
        if node.level is not level:
            return
        if self.view.entries[number].state is NodeState.INACTIVE:
            node.admitted = True
            self._commit(views.admit(self.view, number, node.incarnation))
        else:
            self.after(50, lambda: self._admit(number, level))

    def kill(self, number: int, noticed_ms: int | None = None) -> None:
        """It is gone at once; the others find out a little later."""
        node = self.nodes[number]
        assert node.level is not None
        self.checks.died(number)
        node.level = node.participant = node.frozen = None
        self._force_later(number, noticed_ms)

    def freeze(self, number: int) -> None:
        """It stands still, is forced out, and goes on afterwards for a while, not knowing it."""
        node = self.nodes[number]
        assert node.level is not None
        level = node.level
        node.frozen = []
        self.checks.died(number)
        self._force_later(number, self.random.randint(0, 400))

        def thaw() -> None:
            if node.level is level and node.frozen is not None:
                waiting, node.frozen = node.frozen, None
                for action in waiting:
                    action()
                self.after(self.random.randint(0, 500), end)

        def end() -> None:
            if node.level is level:
                node.level = node.participant = None

        self.after(self.random.randint(500, 4000), thaw)

    def _force_later(self, number: int, noticed_ms: int | None) -> None:
        incarnation = self.nodes[number].incarnation

        def force() -> None:
            entry = self.view.entries[number]
            if entry.incarnation == incarnation and entry.state.live:
                self._commit(views.force_out(self.view, number))

        self.after(self.random.randint(0, 800) if noticed_ms is None else noticed_ms, force)

    def leave(self, number: int) -> bool:
        """Whether it may; begins a graceful leave."""
        entry = self.view.entries[number]
        if entry.state is not NodeState.JOINED or entry.incarnation != self.nodes[number].incarnation:
            return False
        self._commit(views.begin_leave(self.view, number))
        return True

    def _commit(self, view: View) -> None:
        if view.order == self.view.order:
            view = views.View(view.epoch, view.step + 1, view.master, view.entries)
        self.view = view
        self.checks.view_is(view)
        for node in self.nodes:
            if node.level is not None:
                self._tell_view(node.number, node.level)

    def _tell_view(self, number: int, level: LockLevel) -> None:
        def see() -> None:
            node = self.nodes[number]
            if node.level is not level or node.participant is None:
                return
            view = self.view  # the newest: those between are missed
            entry = view.entries[number]
            if not node.admitted or view is node.seen:
                return
            if entry.incarnation != node.incarnation or entry.state is NodeState.FORCED_LEAVING:
                node.level = node.participant = None  # panics
                return
            if entry.state is NodeState.INACTIVE:
                node.level = node.participant = None  # has left
                return
            if node.seen is None:
                node.participant.begin(view)
            node.seen = view
            level.see(view)
            node.participant.see(view)
            self._after_input(number, level)

        self.after(self.random.randint(0, self.options.view_ms_max), lambda: self._do(number, level, see))

    def _recover(self, number: int, level: LockLevel, position: Position) -> None:
        def done() -> None:
            participant = self.nodes[number].participant
            if self.nodes[number].level is level and participant is not None:
                participant.acknowledge(self._seat(participant, 20), (position,))
                self._after_input(number, level)

        self.after(self.random.randint(0, self.options.above_ms_max), lambda: self._do(number, level, done))

    @staticmethod
    def _seat(participant: Participant, order: int) -> Seat:
        return next(seat for seat in participant._seats if seat.level.order == order)

    def step(self) -> None:
        """The master moves the transitions on, now and then."""
        moved = advance(self.view, self.levels, self.acknowledged, frozenset()).view
        if moved.order != self.view.order:
            self._commit(moved)
        self.after(self.random.randint(5, 40), self.step)

    # -- nodes

    def _do(self, number: int, level: LockLevel, action: Callable[[], None]) -> None:
        node = self.nodes[number]
        if node.level is not level:
            return
        if node.frozen is not None:
            node.frozen.append(lambda: self._do(number, level, action))
        else:
            action()

    def _tick(self, number: int, level: LockLevel) -> None:
        def tick() -> None:
            participant = self.nodes[number].participant
            if level.manager is not None:
                level.manager.tick(self.now_ms)
                self._after_input(number, level)
            elif participant is not None:
                # What was told last may have been overtaken by what was told before: nodes say it with each heartbeat.
                self._heard_of(number, level, frozenset(participant.acknowledged()))

        self._do(number, level, tick)
        if self.nodes[number].level is level:
            self.after(TICK_MS + self.random.randint(0, 10), lambda: self._tick(number, level))

    def _after_input(self, number: int, level: LockLevel) -> None:
        """Acknowledge, send, and tell the users."""
        node = self.nodes[number]
        participant = node.participant
        if node.level is not level or participant is None:
            return
        positions = level.acknowledged()
        if positions:
            participant.acknowledge(self._seat(participant, 10), positions)
        told = frozenset(participant.acknowledged())
        self.after(self.random.randint(0, 20), lambda: self._heard_of(number, level, told))
        manager = level.manager
        if manager is None:
            return
        if level.left:  # before others are told what lets them go on
            self.checks.left(number)
        for receiver, payload in manager.datagrams():
            self._send(number, self.nodes[receiver], payload)
        self._tell_users(number, level, manager)

    def _tell_users(self, number: int, level: LockLevel, manager: LockManager) -> None:
        for notice in manager.take_notices():
            self.checks.noticed(number, notice)
            delay_ms = self.random.randint(0, self.options.notice_ms_max)
            self.after(delay_ms, partial(self._do, number, level, partial(self.on_notice, number, notice)))

    def _heard_of(self, number: int, level: LockLevel, told: frozenset[Position]) -> None:
        if self.nodes[number].level is level and self.nodes[number].frozen is None:
            self.acknowledged[number] = told

    def act(self, number: int, action: Callable[[LockManager], object]) -> None:
        """A user of that node calls its lock manager."""
        node = self.nodes[number]
        assert node.level is not None
        assert node.manager is not None
        action(node.manager)
        self._after_input(number, node.level)

    def ready(self, number: int) -> bool:
        """Whether users of that node may use its locks: its join has passed the level, and it does not leave."""
        node, entry = self.nodes[number], self.view.entries[number]
        own = entry.incarnation == node.incarnation and entry.state in (NodeState.JOINING, NodeState.JOINED)
        if node.manager is None or node.frozen is not None or not own:
            return False
        return number in node.manager.members

    def _send(self, sender: int, node: Node, payload: bytes) -> None:
        self.digest = zlib.crc32(payload, self.digest)
        for _ in range(1 + (self.random.random() < self.options.double)):
            if node.level is None or (sender, node.number) in self.cut or self.random.random() < self.options.loss:
                continue
            self.datagram_count += 1
            delay_ms = self.random.randint(0, self.options.delay_ms_max)
            hear = partial(self._hear, node.number, node.level, payload)
            self.after(delay_ms, partial(self._do, node.number, node.level, hear))

    def _hear(self, number: int, level: LockLevel, payload: bytes) -> None:
        if level.manager is not None:
            level.manager.heard(payload, self.now_ms)
            self._after_input(number, level)

    # -- questions

    @property
    def quiet(self) -> bool:
        """Whether all have joined and no transition is under way."""
        return all(
            entry.state is NodeState.JOINED and node.level is not None
            for node, entry in zip(self.nodes, self.view.entries, strict=True)
        ) and all(node.manager is None or not node.manager.stopped for node in self.nodes)
