"""The cluster in memory with subsystems that take their time: what the framework does while they work.

Each subsystem acknowledges a position after as many milliseconds as `delay_ms` says; None means never. What each was
handed is kept, the states of all nodes included, in the order in which it happened on all nodes together.
"""

from __future__ import annotations

from collections.abc import Callable

from guestd.core.inputs import Order
from guestd.core.timing import Timing
from guestd.membership.position import Position
from guestd.transition.levels import Level
from guestd.transition.subsystem import Notification, Subsystem
from tests.unit.guestd_world import World

Delay = Callable[[int, int, Position], int | None]  # (node, order of the level, position) -> ms


class SlowSubsystem(Subsystem):
    """Hands each notification on, and acknowledges what is acknowledged at once."""

    __slots__ = ("_take",)

    def __init__(self, level: Level, take: Callable[[Level, Notification], tuple[Position, ...]]) -> None:
        self.level = level
        self._take = take

    def notify(self, notification: Notification) -> tuple[Position, ...]:
        return self._take(self.level, notification)


class SlowWorld(World):
    """The laboratory, with subsystems that do not acknowledge at once."""

    def __init__(
        self, nodes: int, seed: int, delay_ms: Delay, timing: Timing | None = None, *, election: str = "paxos"
    ) -> None:
        super().__init__(nodes, seed, timing, election=election)
        self.delay_ms = delay_ms
        self.handed: list[tuple[int, int, Notification]] = []  # (node, order of the level, what it was told)

    def power_on(self, *nodes: int) -> None:
        for node in nodes or range(self.config.nodes):
            super().power_on(node)
            stack = self.machines[node].stack
            assert stack is not None
            life = self.machines[node].life
            for seat in stack._manager.member.participant._seats:
                seat.subsystem = SlowSubsystem(seat.level, self._taker(node, life))

    def acknowledge(self, node: int, position: Position) -> None:
        """That node's subsystem is done with it. Says nothing if the subsystem was told otherwise meanwhile."""
        self._acknowledge(node, self.machines[node].life, position)

    def _taker(self, node: int, life: int) -> Callable[[Level, Notification], tuple[Position, ...]]:
        def take(level: Level, notification: Notification) -> tuple[Position, ...]:
            self.handed.append((node, level.order, notification))
            done = []
            for position in notification.positions:
                delay_ms = self.delay_ms(node, level.order, position)
                if delay_ms == 0:
                    done.append(position)
                elif delay_ms is not None:
                    self._acknowledge_after(delay_ms, node, life, position)
            return tuple(done)

        return take

    def _acknowledge_after(self, delay_ms: int, node: int, life: int, position: Position) -> None:
        self.after(delay_ms, lambda: self._acknowledge(node, life, position))

    def _acknowledge(self, node: int, life: int, position: Position) -> None:
        machine = self.machines[node]
        if machine.stack is None or machine.life != life:
            return
        member = machine.stack._manager.member
        seat = next(seat for seat in member.participant._seats if seat.level.order == position.level)
        progress = member.participant.acknowledge(seat, (position,))
        if progress:
            member.report(progress)
            self._to(node, life, Order(0, "status"))  # a number that was seen: the stack does nothing but settle
