"""guestd is killed; the kernel of its node goes on (spec S10.6)."""

from __future__ import annotations

from hil.errors import NothingToStrike
from hil.faults.fault import Fault, why_not_up

KILL = (
    "for pid in $(pidof python3.11); do grep -q hil/guestd.pyc /proc/$pid/cmdline && kill -9 $pid && killed=$pid; done;"
    ' [ -n "$killed" ]'
)
"""guestd and nothing else: the event manager is a program of the same Python."""


class GuestdKill(Fault):
    """By SIGKILL."""

    kind = "guestd-kill"
    about = "guestd is killed, its node's kernel goes on; healed: power-cycled"
    held = "the node's init reports the end of guestd"
    undone = "libvirt reports that the machine runs, and its guestd has started"
    boots = True

    def set_up(self) -> None:
        """It must run."""
        self.need_on(unfrozen=True)
        for node in self.nodes:
            if node.view.guestd != "running":
                raise NothingToStrike(f"{self.kind} of node {node.id}: its guestd is {node.view.guestd}")

    def inject(self) -> None:
        """A signal."""
        if self.simulated:
            self.call("kill_guestd", nodes=self.ids)
            return
        for node in self.nodes:
            self.shell(node, KILL)

    def why_not_held(self) -> str | None:
        """Told by init."""
        runs = [node for node in self.nodes if node.view.guestd != "exited"]
        return f"node {runs[0].id}: guestd is {runs[0].view.guestd}" if runs else None

    def recover(self) -> None:
        """Nobody starts it again on a machine that goes on."""
        struck = [node for node in self.nodes if node.view.guestd == "exited" or node.view.power != "running"]
        self.switch("off", struck)
        self.switch("on", struck)

    def why_not_undone(self) -> str | None:
        """They boot."""
        return why_not_up(self.nodes)
