"""A node's clocks: the time of day steps, or all of them run fast or slow (spec S10.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from hil.errors import InvalidRun, UsageError
from hil.faults.fault import SIM, Fault
from hil.faults.parameters import Integer, Parameters

if TYPE_CHECKING:
    from hil.client import Node

TOLERANCE_S = 0.5
"""Set and looked at it is to milliseconds, however long a login takes: the guest's clocks against each other."""
STEP_S_MAX = 10**9
PPM_MAX = 100_000
"""What the kernel allows (adjtimex(2): the tick may be wrong by a tenth)."""
TICK_US = 10_000
PPM_PER_TICK = 100
_PYTHON = 'python3.11 -I -S -c "import time; {}"'


class ClockStep(Fault):
    """Of the time of day; guestd goes by the monotonic clock."""

    kind = "clock-step"
    about = "the node's time of day steps; healed: it steps back"
    held = "the guest's time of day, held against its monotonic clock, is off by that much more"
    undone = "it is off as much as before"
    parameters: ClassVar[Parameters] = {
        "seconds": Integer(-STEP_S_MAX, STEP_S_MAX, None, "forwards, or (negative) backwards", zero=False)
    }
    lacking: ClassVar[Mapping[str, str]] = {SIM: "guestd reads no time of day, and a simulated node has none"}
    shown = True

    def set_up(self) -> None:
        """How far off it is."""
        self.need_on(unfrozen=True)
        self.note_lives()
        self.state["off_s"] = {str(node.id): self._off_s(node) for node in self.nodes}

    def inject(self) -> None:
        """One after the other."""
        for node in self.nodes:
            self._step(node, self.values["seconds"])

    def why_not_held(self) -> str | None:
        """Against the monotonic clock."""
        return self._why_not(self.values["seconds"])

    def recover(self) -> None:
        """Of machines that have not booted since, and did step."""
        for node in self.nodes:
            if self.lives(node) and abs(self._stepped_s(node) - self.values["seconds"]) < TOLERANCE_S:
                self._step(node, -self.values["seconds"])

    def why_not_undone(self) -> str | None:
        """Against the monotonic clock."""
        return self._why_not(0)

    def _off_s(self, node: Node) -> float:
        return float(self.shell(node, _PYTHON.format("print(time.time() - time.monotonic())")))

    def _step(self, node: Node, seconds: int) -> None:
        self.shell(node, _PYTHON.format(f"time.clock_settime(time.CLOCK_REALTIME, time.time() + {seconds})"))

    def _stepped_s(self, node: Node) -> float:
        before: float = self.state["off_s"][str(node.id)]
        return self._off_s(node) - before

    def _why_not(self, seconds: int) -> str | None:
        for node in self.nodes:
            if self.lives(node):
                stepped_s = self._stepped_s(node)
                if abs(stepped_s - seconds) >= TOLERANCE_S:
                    return f"node {node.id}'s time of day is off by {stepped_s:.1f} s, not by {seconds}"
        return None


class ClockDrift(Fault):
    """The monotonic clock too, by which guestd goes."""

    kind = "clock-drift"
    about = "the node's clocks run fast or slow, the monotonic one too; healed: as before"
    held = "the guest's kernel shows that tick; the simulator that rate"
    undone = "it shows the one that there was before"
    parameters: ClassVar[Parameters] = {
        "ppm": Integer(-PPM_MAX, PPM_MAX, None, "millionths too fast, or (negative) too slow", zero=False)
    }
    shown = True

    def set_up(self) -> None:
        """The rate that there was."""
        if self.values["ppm"] % PPM_PER_TICK:
            raise UsageError(f"fault {self.kind}: ppm = {self.values['ppm']} (legal: multiples of {PPM_PER_TICK})")
        self.need_on(unfrozen=True)
        self.note_lives()
        self.state["before"] = {str(node.id): self._ppm(node) for node in self.nodes}

    def inject(self) -> None:
        """One after the other."""
        for node in self.nodes:
            self._set(node, self.values["ppm"])

    def why_not_held(self) -> str | None:
        """The kernel's word."""
        return self._why_not({str(node.id): self.values["ppm"] for node in self.nodes})

    def recover(self) -> None:
        """In the simulator also of machines that have booted since: there the rate is the machine's."""
        for node in self.nodes:
            if str(node.id) in self._before and (self.simulated or self.lives(node)):
                self._set(node, self._before[str(node.id)])

    def why_not_undone(self) -> str | None:
        """The kernel's word."""
        return self._why_not(self._before)

    @property
    def _before(self) -> dict[str, int]:
        """Of each node, once that is known."""
        found: dict[str, int] = self.state.get("before", {})
        return found

    def _why_not(self, wanted: dict[str, int]) -> str | None:
        for node in [node for node in self.nodes if str(node.id) in wanted]:
            if self.simulated or self.lives(node):
                ppm = self._ppm(node)
                if ppm != wanted[str(node.id)]:
                    return f"node {node.id}'s clocks are {ppm} ppm too fast, not {wanted[str(node.id)]}"
        return None

    def _ppm(self, node: Node) -> int:
        if self.simulated:
            return int(self.call("machine_facts", nodes=[node.id])["ppm"][0])
        found = re.search(r"\btick: +(\d+) us", self.shell(node, "adjtimex"))
        if found is None:
            raise InvalidRun(f"{self.kind} of node {node.id}: adjtimex shows no tick")
        return (int(found[1]) - TICK_US) * PPM_PER_TICK

    def _set(self, node: Node, ppm: int) -> None:
        if self.simulated:
            self.call("set_clock_rate", nodes=[node.id], ppm=ppm)
        else:
            self.shell(node, f"adjtimex -t {TICK_US + ppm // PPM_PER_TICK}")
