"""A subsystem that never answers: a program registers at a level and acknowledges nothing (spec S10.6, S4.13).

It is notified of the joins of all nodes at once. Unless it is healed within ``subsystem_ms`` its node panics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hil.errors import InvalidRun
from hil.faults.fault import Fault
from hil.faults.parameters import Integer, Parameters

if TYPE_CHECKING:
    from hil.client import Node

PROGRAM = """\
import signal
from guestd.client import register
registered = register("{name}", order={level}, on_death="gone")
while True:
    signal.pause()
"""


class SubsystemHang(Fault):
    """On each of the nodes one program."""

    kind = "subsystem-hang"
    about = "a program registers at a level and acknowledges nothing; healed: it ends, and counts as gone"
    held = "guestd has notified the program, which has not acknowledged"
    undone = "guestd reports the end of its registration, or the machine's life is over"
    parameters: ClassVar[Parameters] = {"level": Integer(1, 253, 50, "where it registers")}
    shown = True

    @property
    def name(self) -> str:
        """Of the program, alone on its node."""
        return f"mute-{self.number}"

    def set_up(self) -> None:
        """guestd must run."""
        self.need_on(unfrozen=True)
        self.note_lives()
        self.state["since"] = self.cluster.catch_up().n

    def inject(self) -> None:
        """One after the other."""
        for node in self.nodes:
            if self.simulated:
                self.call("start_mute", node=node.id, program=self.name, level=self.values["level"])
                continue
            program = PROGRAM.format(name=self.name, level=self.values["level"])
            self.shell(node, f"cat >/tmp/{self.name}.py <<'END'\n{program}END")
            log = f"/tmp/{self.name}.log"
            begun = f"PYTHONPATH=/usr/lib/hil setsid python3.11 -S /tmp/{self.name}.py >{log} 2>&1 </dev/null &"
            self.shell(node, f"{begun} echo $! >/tmp/{self.name}.pid")

    def why_not_held(self) -> str | None:
        """guestd's word."""
        told = {event["node"] for event in self._said("notified", "subsystem")}
        ended = {event["node"]: event for event in self._said("program", "program") if event["state"] == "ended"}
        for node in self.nodes:
            if node.id in ended:
                raise InvalidRun(f"{self.kind} of node {node.id}: the program has ended: {ended[node.id].get('why')}")
            if node.id not in told and not self.lives(node):  # nobody answers there any more
                raise InvalidRun(f"{self.kind} of node {node.id}: its machine has ended before guestd told the program")
            if node.id not in told:
                return f"the program on node {node.id} was not notified yet{self._complaint(node)}"
        return None

    def _complaint(self, node: Node) -> str:
        """What the program has said: that its registration was refused."""
        if self.simulated:
            return ""
        said = self.shell(node, f"cat /tmp/{self.name}.log").strip().rpartition("\n")[2]
        return f": {said}" if said else ""

    def recover(self) -> None:
        """The programs are killed."""
        for node in self.nodes:
            if self.simulated:
                self.call("end_mute", node=node.id, program=self.name)
            elif self.lives(node) and node.view.guestd == "running":
                self.shell(node, f"kill -9 $(cat /tmp/{self.name}.pid) || true")

    def why_not_undone(self) -> str | None:
        """guestd's word."""
        registered = {event["node"] for event in self._said("program", "program") if event["state"] == "registered"}
        ended = {event["node"] for event in self._said("program", "program") if event["state"] == "ended"}
        for node in self.nodes:
            there = node.id in registered and node.id not in ended
            if there and self.lives(node) and node.view.guestd == "running":
                return f"the program on node {node.id} is still registered"
        return None

    def clean_up(self) -> None:
        """Its files."""
        for node in [] if self.simulated else self.nodes:
            if self.lives(node):
                self.shell(node, f"rm -f /tmp/{self.name}.*")

    def _said(self, kind: str, field: str) -> list[dict[str, object]]:
        if "since" not in self.state:  # it was never injected
            return []
        events = self.cluster.events(since=self.state["since"])
        return [event for event in events if event["kind"] == kind and event.get(field) == self.name]
