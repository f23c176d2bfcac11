"""Plays a plan of faults on a running cluster, whatever is behind it: the plan that the simulator has shortened, too.

::

    PLAN = Plan(until_ms=12_000, faults=(Fault("cut-node", 8000, 3000, node="master"),))

    @pytest.mark.cluster(nodes=3, joined=False)
    def test_the_master_is_cut_off(cluster):
        play(cluster, PLAN)
        cluster.wait_joined()

Times count from the call, so with ``joined=False`` from power on, as in the simulator. Whoever is off and is not kept
off by the plan is switched on again within a second, as by the simulator's operator. A node may panic: which ones do is
for the checkers to judge, not for the plan.

Differences from the simulator (``hil sim --play``), which repeats the very run: when a cut ends while others are in
force that have a node with it in common, these are made anew, so a datagram may slip through between the two; a share
of ``disk-errors`` is 1000; ``drops`` is the machine's own affair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from guestd.core.timing import Timing
from hil.errors import UsageError
from hil.sim.plan import Fault, Plan

if TYPE_CHECKING:
    from hil.client import Node
    from hil.client.disk import DiskFault
    from hil.scenario import ScenarioCluster

__all__ = ["Fault", "Plan", "play"]

ONLY_SIMULATED: Final = {
    "doom": "no machine can be stopped between two effects of one input",
    "slow-cpu": "no machine takes a given time for each input",
    "loss": "the bench's switch drops all or nothing",
}
"""Kinds of faults that no bench has, and why."""

OPERATOR_S: Final = 0.5
"""How often somebody looks for machines that are off."""

Heal = Callable[[], None]


def play(cluster: ScenarioCluster, plan: Plan) -> list[Fault]:
    """Carry out ``plan``, heal all, and wait as long as somebody may yet be forced out for it.

    Returns when all faults are healed and all machines are on. The result: the faults that found nothing to strike (the
    node was off, or nobody was the master). Raises :class:`hil.errors.UsageError`, and nothing has happened, for a plan
    that this cluster cannot carry out.
    """
    plan.check(len(cluster.nodes))
    for fault in plan.faults:
        _check(fault)
    for node in cluster.nodes:
        cluster.allow_panic(node)
    player = _Player(cluster, plan)
    player.play()
    return player.passed_over


def _check(fault: Fault) -> None:
    only = "only `hil sim --play` can"
    if fault.kind in ONLY_SIMULATED:
        raise UsageError(f"fault {fault.kind} at {fault.at_ms} ms: {ONLY_SIMULATED[fault.kind]}; {only}")
    if fault.kind == "disk-errors" and fault.share != 1000:
        raise UsageError(
            f"fault disk-errors at {fault.at_ms} ms: share = {fault.share} (legal: 1000): a target refuses all"
            f" commands or none; {only}"
        )


class _Player:
    def __init__(self, cluster: ScenarioCluster, plan: Plan) -> None:
        self.passed_over: list[Fault] = []
        self._cluster = cluster
        self._plan = plan
        self._open: dict[int, Heal] = {}
        self._off: dict[int, int] = {}  # node -> how many faults keep it without power
        self._frozen: dict[int, Fault] = {}
        self._cuts: list[list[tuple[int, int]]] = []  # the pairs (from, to) of each cut that is in force
        self._began_s = cluster.clock

    def play(self) -> None:
        """All of it."""
        ends_ms = [min(fault.end_ms, self._plan.until_ms) for fault in self._plan.faults]
        moments = [(fault.at_ms, 0, index) for index, fault in enumerate(self._plan.faults)]
        moments += [(end_ms, 1, index) for index, end_ms in enumerate(ends_ms)]
        for at_ms, ends, index in sorted(moments):
            self._pass_until(at_ms / 1000)
            if ends:
                self._end(index)
            elif at_ms < self._plan.until_ms:
                self._strike(index, self._plan.faults[index])
        self._pass_until(self._plan.until_ms / 1000)
        times = Timing(**self._cluster.settings["settings"]["timing"])
        # Who was silent until now may be forced out for it yet.
        self._pass_until((self._plan.until_ms + times.death_ms + times.agreed_ms_max) / 1000)
        self._switch_on()

    # -- time

    def _pass_until(self, since_beginning_s: float) -> None:
        while (left_s := self._began_s + since_beginning_s - self._cluster.clock) > 0:
            self._cluster.pass_time(min(left_s, OPERATOR_S))
            self._switch_on()

    def _switch_on(self) -> None:
        """Whoever has panicked, has left or was switched off, unless it is to be off."""
        seen = [(node, node.view.power) for node in self._cluster.nodes if node.id not in self._off]
        if crashed := [node for node, power in seen if power == "crashed"]:
            self._cluster.power_cycle(crashed)
        if off := [node for node, power in seen if power == "off" and node.view.power_on_t is not None]:
            self._cluster.power_on(off)

    # -- faults

    def _strike(self, index: int, fault: Fault) -> None:
        node = None if fault.node is None else self._whom(fault.node)
        heal: Heal | None = None
        if fault.node is None or node is not None:
            try:
                heal = self._begin(fault, node)
            except UsageError:
                # Its machine went off between the look and the verb: what cannot be at all was refused before.
                heal = None
        if heal is None:
            self.passed_over.append(fault)
        else:
            self._open[index] = heal

    def _end(self, index: int) -> None:
        heal = self._open.pop(index, None)
        if heal is not None:
            heal()

    def _whom(self, whom: int | str) -> Node | None:
        cluster = self._cluster
        if isinstance(whom, int):
            return cluster.node(whom)
        master = cluster.master
        if whom == "master":
            return master
        others = [node for node in cluster.nodes if node is not master and node.view.state == "joined"]
        return others[0] if others else None

    def _begin(self, fault: Fault, node: Node | None) -> Heal | None:
        """What ends it; None if there is nothing to strike."""
        cluster = self._cluster
        if fault.kind in ("crash", "power-failure"):
            nodes = [cluster.node(number) for number in fault.nodes or ()] if node is None else [node]
            if node is not None and node.view.power not in ("running", "paused"):
                return None
            return self._without_power(nodes)
        if fault.kind.startswith("disk-") or fault.kind == "delay-writes":
            kinds = {"delay-writes": "delay-writes", "disk-errors": "error"}
            found = cluster.disk.inject(kinds.get(fault.kind, "hang"), cluster.nodes if node is None else node)
            return lambda: _heal_disk(found)
        if fault.kind == "split":
            return self._split(fault)
        assert node is not None, f"{fault.kind} strikes no node"
        if fault.kind.startswith("cut-"):
            others = [number for number in range(len(cluster.nodes)) if number != node.id]
            named = [number for number in fault.others or others if number != node.id]
            return self._cut(node, named, fault.direction or "both")
        if node.view.power != "running" or node.id in self._frozen:
            return None
        if fault.kind.startswith("freeze-"):
            cluster.freeze(node, fault.kind.removeprefix("freeze-"))
            self._frozen[node.id] = fault
            return lambda: self._thaw(node, fault)
        if fault.kind == "leave":
            cluster.shutdown(node)
        else:
            cluster.panic(node)
        return lambda: None

    def _thaw(self, node: Node, fault: Fault) -> None:
        if self._frozen.get(node.id) is fault:
            del self._frozen[node.id]
            self._cluster.thaw(node)

    def _without_power(self, nodes: list[Node]) -> Heal:
        for node in nodes:
            self._off[node.id] = self._off.get(node.id, 0) + 1
            self._frozen.pop(node.id, None)
        self._cluster.power_off(nodes)

        def heal() -> None:
            for node in nodes:
                self._off[node.id] -= 1
                if not self._off[node.id]:
                    del self._off[node.id]
            self._cluster.power_on([node for node in nodes if node.id not in self._off])

        return heal

    def _split(self, fault: Fault) -> Heal:
        numbers = range(len(self._cluster.nodes))
        groups = list(fault.groups or ())
        groups += [(number,) for number in numbers if all(number not in group for group in groups)]
        group_of = {number: index for index, group in enumerate(groups) for number in group}
        self._cluster.split(*([self._cluster.node(number) for number in group] for group in groups))
        return self._in_force(
            [(one, other) for one in numbers for other in numbers if group_of[one] != group_of[other]]
        )

    def _cut(self, node: Node, others: list[int], direction: str) -> Heal:
        self._cluster.cut_link(node, "silent", direction, [self._cluster.node(number) for number in others])
        pairs = [(node.id, other) for other in others if direction != "in"]
        return self._in_force(pairs + [(other, node.id) for other in others if direction != "out"])

    def _in_force(self, pairs: list[tuple[int, int]]) -> Heal:
        self._cuts.append(pairs)
        return lambda: self._mend(pairs)

    def _mend(self, pairs: list[tuple[int, int]]) -> None:
        """The bench mends all that a node has a part in: what other faults have cut there is cut again."""
        self._cuts.remove(pairs)
        concerned = {number for pair in pairs for number in pair}
        for number in sorted(concerned):
            self._cluster.heal_link(self._cluster.node(number))
        again = {pair for cut in self._cuts for pair in cut if concerned & set(pair)}
        for number in sorted({one for one, _ in again}):
            others = [self._cluster.node(other) for one, other in sorted(again) if one == number]
            self._cluster.cut_link(self._cluster.node(number), "silent", "out", others)


def _heal_disk(fault: DiskFault) -> None:
    fault.heal()
