"""Injects faults at random times, each with its heal, by the weights of the options; ``heal`` ends them all.

A fault is a pair (S10.7): what begins it returns what ends it. Both are told, and counted by kind. A fault that finds
nothing to strike (nobody runs, the node is frozen already) is drawn again later.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from hil.sim.nodes import Freeze

if TYPE_CHECKING:
    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.world import World

Heal = Callable[[], None]


class Faults:
    """The one who does harm. ``counts``: faults injected, by kind."""

    def __init__(self, world: World, options: Options) -> None:
        self.counts: Counter[str] = Counter()
        self._world = world
        self._options = options
        self._random: random.Random = world.random
        self._kinds = [kind for kind, _ in options.weights]
        self._weights = [weight for _, weight in options.weights]
        self._losses = [options.loss_share / 1000]
        self._open: dict[int, tuple[str, Heal]] = {}
        self._number = 0
        self._over = False

    def begin(self) -> None:
        """From now on, until ``heal``."""
        if self._kinds:
            self._next()

    def heal(self) -> None:
        """All that are in force end, in the order of their injection, and no more come."""
        self._over = True
        for number in sorted(self._open):
            self._end(number)

    @property
    def in_force(self) -> list[str]:
        """The kinds of those that are."""
        return [self._open[number][0] for number in sorted(self._open)]

    def inject(self, kind: str, node: int | None = None, for_us: int | None = None) -> bool:
        """One fault now, of that node or any; whether there was something to strike."""
        struck = self._random.randrange(self._options.nodes) if node is None else node
        begin: Callable[[Node], Heal | None] = getattr(self, "_" + kind.replace("-", "_"))
        heal = begin(self._world.nodes[struck])
        if heal is None:
            return False
        self.counts[kind] += 1
        self._number += 1
        self._open[self._number] = (kind, heal)
        self._world.trace.tell(struck, f"fault {self._number}: {kind}")
        self._world.queue.after(self._duration_us() if for_us is None else for_us, self._end, self._number)
        return True

    def _next(self) -> None:
        mean_us = self._options.fault_every_ms * 1000
        self._world.queue.after(int(self._random.expovariate(1 / mean_us)) + 1, self._strike)

    def _strike(self) -> None:
        if self._over:
            return
        self.inject(self._random.choices(self._kinds, self._weights)[0])
        self._next()

    def _end(self, number: int) -> None:
        if number in self._open:
            kind, heal = self._open.pop(number)
            self._world.trace.tell(None, f"fault {number} ({kind}) healed")
            heal()

    def _duration_us(self) -> int:
        """Short of, about, or well above the time after which a silent node is forced out."""
        death_us = self._options.timing.death_ms * 1000
        return int(death_us * self._random.choice([0.1, 0.5, 1.0, 1.5, 3.0, 10.0]) * (0.5 + self._random.random()))

    # -- power

    def _crash(self, node: Node) -> Heal | None:
        if node.stack is None:
            return None
        node.power_off()
        self._world.boot_later(node)
        return _nothing

    def _doom(self, node: Node) -> Heal | None:
        if node.stack is None or node.doom is not None:
            return None
        node.doom = self._random.randrange(30)
        return partial(setattr, node, "doom", None)

    def _power_failure(self, _node: Node) -> Heal | None:
        """All at the same instant, or some."""
        everybody = self._random.random() < 0.5
        lost = [node for node in self._world.nodes if everybody or self._random.random() < 0.5]
        for node in lost:
            node.power_off()
            self._world.boot_later(node)
        return _nothing

    def _leave(self, node: Node) -> Heal | None:
        if node.stack is None:
            return None
        node.order("leave")
        return _nothing

    def _panic(self, node: Node) -> Heal | None:
        if node.stack is None or node.frozen is not None:
            return None
        node.order("panic")
        return _nothing

    # -- processors

    def _freeze_process(self, node: Node) -> Heal | None:
        return self._freeze(node, Freeze.PROCESS)

    def _freeze_vcpu(self, node: Node) -> Heal | None:
        return self._freeze(node, Freeze.VCPU)

    def _freeze(self, node: Node, how: Freeze) -> Heal | None:
        if node.stack is None or node.frozen is not None:
            return None
        node.freeze(how, drops=self._random.random() < 0.5)
        return partial(_of_life, node, node.life, node.thaw)

    def _slow_cpu(self, node: Node) -> Heal | None:
        if node.stack is None:
            return None
        # All that its period brings takes a tenth of it to all of it.
        inputs = self._options.nodes + 4
        period_us = self._options.timing.heartbeat_ms * 1000
        node.slow(max(1, int(period_us / inputs * (0.1 + 0.9 * self._random.random()))))
        return partial(_of_life, node, node.life, partial(node.slow, 0))

    # -- network

    def _cut_node(self, node: Node) -> Heal:
        others = [other for other in range(self._options.nodes) if other != node.number]
        return self._cut([pair for other in others for pair in ((node.number, other), (other, node.number))])

    def _cut_one_way(self, node: Node) -> Heal:
        """To one other node, or to all, or from all."""
        others = [other for other in range(self._options.nodes) if other != node.number]
        how = self._random.randrange(3)
        if how == 0:
            return self._cut([(node.number, self._random.choice(others))])
        return self._cut([(node.number, other) if how == 1 else (other, node.number) for other in others])

    def _cut_link(self, node: Node) -> Heal:
        other = self._random.choice([other for other in range(self._options.nodes) if other != node.number])
        return self._cut([(node.number, other), (other, node.number)])

    def _split(self, _node: Node) -> Heal:
        groups = [self._random.randrange(self._random.choice([2, 2, 3])) for _ in range(self._options.nodes)]
        numbers = range(self._options.nodes)
        return self._cut([(one, other) for one in numbers for other in numbers if groups[one] != groups[other]])

    def _cut(self, pairs: list[tuple[int, int]]) -> Heal:
        self._world.network.cut(pairs)
        return partial(self._world.network.heal, pairs)

    def _loss(self, _node: Node) -> Heal:
        share = self._random.choice([0.1, 0.3, 0.6])
        self._losses.append(share)
        self._world.network.loss = max(self._losses)

        def heal() -> None:
            self._losses.remove(share)
            self._world.network.loss = max(self._losses)

        return heal

    # -- disk

    def _disk_hang(self, node: Node) -> Heal:
        self._world.disk.hang(node.number)
        return partial(self._world.disk.unhang, node.number)

    def _disk_hang_all(self, _node: Node) -> Heal:
        for number in range(self._options.nodes):
            self._world.disk.hang(number)

        def heal() -> None:
            for number in range(self._options.nodes):
                self._world.disk.unhang(number)

        return heal

    def _delay_writes(self, node: Node) -> Heal:
        self._world.disk.hold(node.number)
        return partial(self._world.disk.let_go, node.number)

    def _disk_errors(self, node: Node) -> Heal | None:
        shares = self._world.disk.error_share
        if shares[node.number]:
            return None
        shares[node.number] = self._random.choice([0.05, 0.3, 1.0])

        def heal() -> None:
            shares[node.number] = 0.0

        return heal


def _nothing(*_: Any) -> None:
    """What was done is over by itself, or an operator's boot ends it."""


def _of_life(node: Node, life: int, action: Callable[[], None]) -> None:
    if node.life == life and node.stack is not None:
        action()
