"""A slow processor: each input takes guestd so long (spec S1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from hil.client.backend import ONLY_SIMULATED
from hil.faults.fault import QEMU, Fault
from hil.faults.parameters import Integer, Parameters


class SlowCpu(Fault):
    """In the present life of the node."""

    kind = "slow-cpu"
    about = "each input takes the node's processors so long"
    held = "the simulator shows that cost"
    undone = "it shows none"
    parameters: ClassVar[Parameters] = {"ms": Integer(1, 1000, None, "milliseconds")}
    lacking: ClassVar[Mapping[str, str]] = {QEMU: ONLY_SIMULATED["simulation.slow_down"]}

    def set_up(self) -> None:
        """They must run."""
        self.need_on(unfrozen=True)
        self.note_lives()

    def inject(self) -> None:
        """All of them."""
        self.cluster.simulation.slow_down(self.nodes, self.values["ms"])

    def why_not_held(self) -> str | None:
        """A look."""
        costs = self.call("machine_facts", nodes=self.ids)["cost_us"]
        wrong = [node for node, cost in zip(self.ids, costs, strict=True) if cost != self.values["ms"] * 1000]
        return f"node {wrong[0]} is not slow" if wrong else None

    def recover(self) -> None:
        """With the life of a machine it is over."""
        alive = [node for node in self.nodes if self.lives(node) and node.view.power == "running"]
        if alive:
            self.cluster.simulation.slow_down(alive, 0)

    def why_not_undone(self) -> str | None:
        """A look."""
        costs = self.call("machine_facts", nodes=self.ids)["cost_us"]
        slow = [node for node, cost in zip(self.nodes, costs, strict=True) if cost and self.lives(node)]
        return f"node {slow[0].id} is slow" if slow else None
