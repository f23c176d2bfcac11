"""A simulated machine over its power cycles: what libvirt, the kernel and init say of it, its console, its orders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from guestd import __version__
from hil.console_times import ConsoleTimes
from hil.errors import LaboratoryError, UsageError
from hil.sim.nodes import Freeze, Node
from hil.sim.world import BOOT_US_MIN

if TYPE_CHECKING:
    from hil.bench.log import EventLog
    from hil.sim.backend.world import ScenarioWorld

WAYS: Final = tuple(way.value for way in Freeze)
_REPORT_US_MAX: Final = 50_000
"""From a kernel's panic, or its power down, until the hypervisor says so."""


class Machine:
    """Of ``node``. Verbs return when they have taken effect, which takes no time."""

    def __init__(self, world: ScenarioWorld, node: Node, log: EventLog, console: Path, wwid: str) -> None:
        self.node = node
        self.number = node.number
        self.frozen: str | None = None
        self._world = world
        self._random = world.generators[node.number].boot
        self._log = log
        self._console = console
        self._console_times = ConsoleTimes([console], log.now)
        self._wwid = wwid
        self._path = world.target_disk.paths[node.number]
        self._power = 0  # counts the times that it went on, off, or was reset: what an earlier one had to do is void
        self._on_us = 0
        self._began_us = 0
        self._boot_due = False
        self._events = 0
        self._panics = 0  # seen so far
        self._drift_ppm: int | None = None  # from the next boot on
        self._orders: list[tuple[str, str]] = []  # for a guestd that has not started yet

    # -- power

    def power_on(self) -> bool:
        """Switch it on; False if it was on already. Raises :class:`LaboratoryError` if it does not start."""
        if self._log.power(self.number) != "off":
            return False
        self.frozen = None
        self._log.emit("machine-starting", node=self.number)
        try:
            self._path.power_on()
        except LaboratoryError as error:
            self._log.emit("machine-stopped", node=self.number, detail="failed", reason=str(error))
            raise
        self._log.emit("machine-started", node=self.number)
        self._boot()
        return True

    def power_off(self) -> bool:
        """Pull the plug; False if it was off already."""
        if self._log.power(self.number) == "off":
            return False
        self._stop()
        self._log.emit("machine-stopped", node=self.number, detail="destroyed")
        return True

    def reset(self) -> None:
        """Press the reset button. Raises :class:`UsageError` unless it runs."""
        self._running()
        self._stop()
        self._path.power_on()
        self._log.emit("machine-reset", node=self.number)
        self._boot()

    def drift(self, ppm: int) -> None:
        """From the next boot on its clock runs so much too fast."""
        self._drift_ppm = ppm

    def _stop(self) -> None:
        self._power += 1
        self.frozen = None
        self._boot_due = False
        self._orders.clear()
        self.node.power_off()

    def _boot(self) -> None:
        self._power += 1
        self._on_us = self._world.queue.now_us
        longest_us = max(BOOT_US_MIN + 1, self._world.options.boot_ms_max * 1000)
        self._print(f"hil: the simulated machine of node {self.number} boots")
        self._world.queue.after(self._random.randint(BOOT_US_MIN, longest_us), self._begin, self._power)

    def _begin(self, power: int) -> None:
        """guestd starts, and finds the disk."""
        if power != self._power:
            return
        if self.frozen is not None:
            self._boot_due = True
            return
        self._began_us = self._world.queue.now_us
        self._events = 0
        start = self._random.getrandbits(64).to_bytes(8, "big").hex()
        uptime = round((self._began_us - self._on_us) / 1e6, 2)
        self._print(f"hil: guestd: node {self.number} begins")
        self._emit("guestd-started", version=__version__, pid=1, start=start, stages={}, uptime=uptime)
        self._emit("disk-found", device="/dev/sda", wwid=self._wwid)
        if self._drift_ppm is not None:
            self.node.drift(self._drift_ppm)
        self.node.power_on()
        orders, self._orders = self._orders, []
        for order, reason in orders:
            self.node.order(order, reason)

    # -- what it does

    def says(self, kind: str, fields: dict[str, Any]) -> None:
        """An event of its guestd."""
        self._emit(kind, **fields)
        if kind == "refused":
            self._print(f"hil: guestd: refused: {fields['reason']}")

    def ended(self) -> None:
        """Its guestd has panicked, or exited."""
        if len(self.node.panics) > self._panics:
            self._panics = len(self.node.panics)
            self._print(f"hil: guestd: PANIC: {self.node.panics[-1]}")
            self._print("sysrq: Trigger a crash")
            self._print("Kernel panic - not syncing: sysrq triggered crash")
            self._report("machine-crashed", detail="panicked")
        elif self.node.exits[-1] == 0:
            self._print("hil: guestd has left the cluster: power off")
            self._report("machine-stopped", detail="shutdown")
        else:
            status = self.node.exits[-1]
            self._print(f"hil: guestd ended with status {status}; this node stays up for inspection")
            self._log.emit("guestd-exited", node=self.number, status=status)

    def _report(self, kind: str, **fields: Any) -> None:
        delay_us = self._random.randint(0, _REPORT_US_MAX)
        self._world.queue.after(delay_us, self._reported, self._power, kind, fields)

    def _reported(self, power: int, kind: str, fields: dict[str, Any]) -> None:
        if power != self._power:
            return
        if kind == "machine-stopped":
            self._stop()
        self._log.emit(kind, node=self.number, **fields)

    # -- orders and freezes

    def order(self, order: str, **told: str) -> None:
        """To guestd, which takes it when it has started. Raises :class:`UsageError` unless it runs."""
        self._running()
        if self._log.guestd(self.number) == "exited":
            raise UsageError(f"node {self.number}'s guestd has ended; `hil power cycle {self.number}` starts it anew")
        reason = told.get("reason", "")
        if self.node.stack is None:
            self._orders.append((order, reason))
            number = len(self._orders)
        else:
            number = self.node.order(order, reason)
        self._log.emit("order-sent", node=self.number, order_n=number, order=order, **told)

    def freeze(self, how: str) -> None:
        """Have it stand still. Raises :class:`UsageError` unless it runs and is not frozen."""
        self._running()
        self.frozen = how
        if how == Freeze.VCPU:
            self._log.emit("machine-paused", node=self.number)
        if self.node.stack is not None:
            self.node.freeze(Freeze(how), drops=self._random.random() < 0.5)

    def thaw(self) -> str | None:
        """Let it go on. How it had been frozen, None if it was not."""
        how, self.frozen = self.frozen, None
        if how is None:
            return None
        if how == Freeze.VCPU:
            self._log.emit("machine-resumed", node=self.number)
        self.node.thaw()
        if self._boot_due:
            self._boot_due = False
            self._begin(self._power)
        return how

    def slow_down(self, cost_us: int) -> None:
        """Each input takes its processors so long. Raises :class:`UsageError` unless it runs."""
        self._running()
        self.node.slow(cost_us)

    def kill_guestd(self) -> None:
        """It ends as by SIGKILL. Raises :class:`UsageError` unless the machine runs, and its guestd with it."""
        self.check_runs()
        if self.node.stack is None:
            raise UsageError(f"node {self.number}'s guestd does not run")
        self.node.kill()

    def check_runs(self) -> None:
        """Raises :class:`UsageError` unless the machine runs and is not frozen."""
        self._running()

    def _running(self) -> None:
        power = self._log.power(self.number)
        if self.frozen is not None and power in ("running", "paused"):
            raise UsageError(f"node {self.number} is frozen ({self.frozen}); `hil thaw {self.number}` first")
        if power != "running":
            raise UsageError(f"node {self.number}'s machine is {power}; `hil power cycle {self.number}` starts it anew")

    # -- what it tells

    def _emit(self, kind: str, **fields: Any) -> None:
        self._events += 1
        booted_s = (self._began_us - self._on_us) / 1e6
        guest_t = round(booted_s + (self.node.clock_ms / 1000 if self.node.stack is not None else 0.0), 4)
        self._log.emit(kind, **{**fields, "guest_n": self._events, "guest_t": guest_t, "node": self.number})

    def _print(self, line: str) -> None:
        uptime_s = (self._world.queue.now_us - self._on_us) / 1e6
        with self._console.open("a", encoding="utf-8") as console:
            console.write(f"[{uptime_s:12.6f}] {line}\n")
        self._console_times.look()
