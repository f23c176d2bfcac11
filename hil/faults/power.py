"""Power: the plug pulled, off and on again, the reset button (spec S10.2)."""

from __future__ import annotations

from abc import abstractmethod

from hil.errors import NothingToStrike
from hil.faults.fault import Fault, why_not_up


class PowerOff(Fault):
    """Several at the same instant."""

    kind = "power-off"
    about = "the plug is pulled, of several at the same instant; healed: switched on again"
    held = "libvirt reports the machines as off"
    undone = "libvirt reports that they run, and their guestds have started"
    boots = True

    def set_up(self) -> None:
        """Somebody must have power."""
        self.cluster.poll()
        if all(node.view.power == "off" for node in self.nodes):
            raise NothingToStrike(f"{self.kind} of {', '.join(f'node {node}' for node in self.ids)}: off already")

    def inject(self) -> None:
        """All of them."""
        self.state["changed"] = self.cluster.power_off(self.nodes)["changed"]

    def why_not_held(self) -> str | None:
        """libvirt's word."""
        on = [node for node in self.nodes if node.view.power != "off"]
        return f"node {on[0].id}'s machine is {on[0].view.power}" if on else None

    def recover(self) -> None:
        """Those that had power."""
        struck = [self.cluster.nodes[node] for node in self.state.get("changed", [])]
        self.switch("on", [node for node in struck if node.view.power == "off"])

    def why_not_undone(self) -> str | None:
        """They boot."""
        return why_not_up([self.cluster.nodes[node] for node in self.state.get("changed", [])])


class _Restart(Fault):
    held = "libvirt has reported the end of the machines' lives, and that they run"
    undone = "their guestds have started"
    boots = True

    def set_up(self) -> None:
        """They must run."""
        self.need_on(unfrozen=self.kind == "reset")
        self.note_lives()

    @abstractmethod
    def inject(self) -> None:
        """The machines begin anew."""

    def why_not_held(self) -> str | None:
        """A life has ended, another has begun."""
        for node in self.nodes:
            if node.view.ends == self.state["ends"][str(node.id)]:
                return f"node {node.id}'s machine has not begun anew"
            if node.view.power != "running":
                return f"node {node.id}'s machine is {node.view.power}"
        return None

    def recover(self) -> None:
        """They boot by themselves."""

    def why_not_undone(self) -> str | None:
        """They have."""
        return why_not_up(self.nodes)


class PowerCycle(_Restart):
    """None is switched on before the last is off."""

    kind = "power-cycle"
    about = "off and on again at once; the machines boot"

    def inject(self) -> None:
        """All of them."""
        self.cluster.power_cycle(self.nodes)


class Reset(_Restart):
    """Power is not lost."""

    kind = "reset"
    about = "the reset button; the machines boot"

    def inject(self) -> None:
        """One after the other."""
        for node in self.nodes:
            self.cluster.reset(node)
