"""Carries out a plan of faults, each with its heal, in a simulated world; ``heal`` ends them all.

A fault is a pair (S10.7): what begins it returns what ends it. Both are told, and counted by kind. A fault that finds
nothing to strike (nobody runs, the node is frozen already) is passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from guestd.membership.roles import Role
from guestd.membership.states import NodeState
from hil.sim.nodes import Freeze

if TYPE_CHECKING:
    from hil.sim.nodes import Node
    from hil.sim.plan import Fault, Plan
    from hil.sim.world import World

Heal = Callable[[], None]


class Faults:
    """The one who does harm. ``counts``: faults that struck, by kind."""

    def __init__(self, world: World, plan: Plan) -> None:
        plan.check(world.options.nodes)
        self.plan = plan
        self.counts: Counter[str] = Counter()
        self._world = world
        self._losses = [world.options.loss_share / 1000]
        self._open: dict[int, tuple[Fault, Heal]] = {}
        self._number = 0
        self._over = False

    def begin(self) -> None:
        """From now on, until ``heal``: each of the plan at its time."""
        for fault in self.plan.faults:
            self._world.queue.after(fault.at_ms * 1000, self._strike, fault)

    def heal(self) -> None:
        """All that are in force end, in the order of their injection, and no more come."""
        self._over = True
        for number in sorted(self._open):
            self._end(number)

    @property
    def in_force(self) -> list[str]:
        """The kinds of those that are."""
        return [self._open[number][0].kind for number in sorted(self._open)]

    def inject(self, fault: Fault) -> bool:
        """That fault now, whenever it was to be; whether there was something to strike."""
        heal: Heal | None
        if fault.node is None:
            everybody: Callable[[Fault], Heal | None] = getattr(self, "_" + fault.kind.replace("-", "_"))
            struck, heal = None, everybody(fault)
        else:
            node = self._whom(fault.node)
            if node is None:
                return False
            begin: Callable[[Node, Fault], Heal | None] = getattr(self, "_" + fault.kind.replace("-", "_"))
            struck, heal = node.number, begin(node, fault)
        if heal is None:
            return False
        self.counts[fault.kind] += 1
        self._number += 1
        self._open[self._number] = (fault, heal)
        self._world.trace.tell(struck, f"fault {self._number}: {fault}")
        self._world.queue.after(fault.for_ms * 1000, self._end, self._number)
        return True

    def _strike(self, fault: Fault) -> None:
        if not self._over:
            self.inject(fault)

    def _end(self, number: int) -> None:
        if number in self._open:
            fault, heal = self._open.pop(number)
            if fault.for_ms:
                self._world.trace.tell(None, f"fault {number} ({fault.kind}) healed")
            heal()

    def _whom(self, whom: int | str) -> Node | None:
        """Who that is at this moment; None if nobody is."""
        if isinstance(whom, int):
            return self._world.nodes[whom]
        running = [(node, node.stack.member) for node in self._world.nodes if node.stack is not None]
        masters = [(member.view.epoch, node.number) for node, member in running if member.role is Role.MASTER]
        master = max(masters)[1] if masters else None  # a frozen one of an earlier epoch is none any more
        if whom == "master":
            return None if master is None else self._world.nodes[master]
        for node, member in running:
            if node.number != master and member.inside and member.state is NodeState.JOINED:
                return node
        return None

    # -- power

    def _crash(self, node: Node, fault: Fault) -> Heal | None:
        return None if node.stack is None else self._without_power([node], fault)

    def _power_failure(self, fault: Fault) -> Heal | None:
        return self._without_power([self._world.nodes[number] for number in fault.nodes or ()], fault)

    def _without_power(self, nodes: list[Node], fault: Fault) -> Heal:
        for node in nodes:
            node.power_off()
            if not fault.for_ms:
                self._world.boot_later(node)
        if not fault.for_ms:
            return _nothing

        def heal() -> None:
            for node in nodes:
                self._world.boot_later(node)

        return heal

    def _doom(self, node: Node, fault: Fault) -> Heal | None:
        if node.stack is None or node.doom is not None:
            return None
        node.doom = fault.effects
        return partial(_of_life, node, node.life, partial(setattr, node, "doom", None))

    def _leave(self, node: Node, _fault: Fault) -> Heal | None:
        if node.stack is None:
            return None
        node.order("leave")
        return _nothing

    def _panic(self, node: Node, _fault: Fault) -> Heal | None:
        if node.stack is None or node.frozen is not None:
            return None
        node.order("panic")
        return _nothing

    # -- processors

    def _freeze_process(self, node: Node, fault: Fault) -> Heal | None:
        return self._freeze(node, fault, Freeze.PROCESS)

    def _freeze_vcpu(self, node: Node, fault: Fault) -> Heal | None:
        return self._freeze(node, fault, Freeze.VCPU)

    @staticmethod
    def _freeze(node: Node, fault: Fault, how: Freeze) -> Heal | None:
        if node.stack is None or node.frozen is not None:
            return None
        node.freeze(how, drops=bool(fault.drops))
        return partial(_of_life, node, node.life, node.thaw)

    @staticmethod
    def _slow_cpu(node: Node, fault: Fault) -> Heal | None:
        if node.stack is None:
            return None
        node.slow(fault.cost_us or 0)
        return partial(_of_life, node, node.life, partial(node.slow, 0))

    # -- network

    def _cut_node(self, node: Node, _fault: Fault) -> Heal:
        others = range(len(self._world.nodes))
        return self._cut([pair for other in others for pair in ((node.number, other), (other, node.number))])

    def _cut_one_way(self, node: Node, fault: Fault) -> Heal:
        pairs = [(node.number, other) for other in fault.others or ()]
        return self._cut(pairs if fault.direction == "out" else [(other, one) for one, other in pairs])

    def _cut_link(self, node: Node, fault: Fault) -> Heal:
        return self._cut(
            [pair for other in fault.others or () for pair in ((node.number, other), (other, node.number))]
        )

    def _split(self, fault: Fault) -> Heal:
        group_of = {number: index for index, group in enumerate(fault.groups or ()) for number in group}
        numbers = range(len(self._world.nodes))
        return self._cut(
            [(one, other) for one in numbers for other in numbers if group_of.get(one, -1) != group_of.get(other, -2)]
        )

    def _cut(self, pairs: list[tuple[int, int]]) -> Heal:
        links = [pair for pair in pairs if pair[0] != pair[1]]
        self._world.network.cut(links)
        return partial(self._world.network.heal, links)

    def _loss(self, fault: Fault) -> Heal:
        share = (fault.share or 0) / 1000
        self._losses.append(share)
        self._world.network.loss = max(self._losses)

        def heal() -> None:
            self._losses.remove(share)
            self._world.network.loss = max(self._losses)

        return heal

    # -- disk

    def _disk_hang(self, node: Node, _fault: Fault) -> Heal:
        self._world.disk.hang(node.number)
        return partial(self._world.disk.unhang, node.number)

    def _disk_hang_all(self, _fault: Fault) -> Heal:
        for node in self._world.nodes:
            self._world.disk.hang(node.number)

        def heal() -> None:
            for node in self._world.nodes:
                self._world.disk.unhang(node.number)

        return heal

    def _delay_writes(self, node: Node, _fault: Fault) -> Heal:
        self._world.disk.hold(node.number)
        return partial(self._world.disk.let_go, node.number)

    def _disk_errors(self, node: Node, fault: Fault) -> Heal | None:
        shares = self._world.disk.error_share
        if shares[node.number]:
            return None
        shares[node.number] = (fault.share or 0) / 1000

        def heal() -> None:
            shares[node.number] = 0.0

        return heal

    def _fence_hang(self, node: Node, fault: Fault) -> Heal | None:
        disk = self._world.disk.of(fault.lun or 0)
        if disk is None:
            return None
        disk.hang_fences(node.number)
        return partial(disk.unhang_fences, node.number)

    def _fence_errors(self, node: Node, fault: Fault) -> Heal | None:
        disk = self._world.disk.of(fault.lun or 0)
        if disk is None or disk.fails_fences(node.number):
            return None
        disk.fail_fences(node.number, (fault.share or 0) / 1000)
        return partial(disk.fail_fences, node.number, 0.0)


def _nothing(*_: Any) -> None:
    """What was done is over by itself, or an operator's boot ends it."""


def _of_life(node: Node, life: int, action: Callable[[], None]) -> None:
    if node.life == life and node.stack is not None:
        action()
