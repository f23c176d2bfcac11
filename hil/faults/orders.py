"""What a node is ordered to do: leave gracefully and halt, or panic (spec S10.2, S10.6)."""

from __future__ import annotations

from typing import ClassVar

from hil.errors import InvalidRun
from hil.faults.fault import Fault, why_not_up
from hil.faults.parameters import Parameters, Text

REASON_SIZE_MAX = 800
"""Of a panic: it is one record of the kernel's log."""


class Shutdown(Fault):
    """A planned departure."""

    kind = "shutdown"
    about = "the node leaves gracefully and switches itself off; healed: switched on again"
    held = "libvirt reports that the machine has shut down"
    undone = "libvirt reports that it runs, and its guestd has started"
    boots = True

    def set_up(self) -> None:
        """Somebody must take the order."""
        self.need_on(unfrozen=True)

    def inject(self) -> None:
        """The order."""
        for node in self.nodes:
            self.cluster.shutdown(node)

    def why_not_held(self) -> str | None:
        """libvirt's word."""
        for node in self.nodes:
            if node.view.power == "crashed":
                raise InvalidRun(f"{self.kind} of node {node.id}: it crashed instead: {node.view.panic_reason}")
            if node.view.power != "off":
                return f"node {node.id}'s machine is {node.view.power}"
        return None

    def recover(self) -> None:
        """Power on."""
        self.switch("on", [node for node in self.nodes if node.view.power == "off"])

    def why_not_undone(self) -> str | None:
        """They boot."""
        return why_not_up(self.nodes)


class Panic(Fault):
    """The kernel's own panic."""

    kind = "panic"
    about = "the node's kernel panics; healed: power-cycled"
    held = "libvirt reports the crash of the machine"
    undone = "libvirt reports that it runs, and its guestd has started"
    parameters: ClassVar[Parameters] = {
        "reason": Text(REASON_SIZE_MAX, "ordered by the fault library", "what its console says")
    }
    boots = True

    def set_up(self) -> None:
        """Somebody must take the order."""
        self.need_on(unfrozen=True)

    def inject(self) -> None:
        """The order, which declares the panic (:mod:`hil.expect`)."""
        for node in self.nodes:
            self.cluster.panic(node, self.values["reason"])

    def why_not_held(self) -> str | None:
        """libvirt's word."""
        waiting = [node for node in self.nodes if node.view.power != "crashed"]
        return f"node {waiting[0].id}'s machine is {waiting[0].view.power}" if waiting else None

    def recover(self) -> None:
        """A machine that has crashed stands until somebody pulls its plug."""
        self.switch("off", [node for node in self.nodes if node.view.power == "crashed"])
        self.switch("on", [node for node in self.nodes if node.view.power == "off"])

    def why_not_undone(self) -> str | None:
        """They boot."""
        return why_not_up(self.nodes)
