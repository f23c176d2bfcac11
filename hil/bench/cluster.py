"""The bench's verbs on its cluster: what a client may ask for."""

from __future__ import annotations

import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import libvirt

from hil.bench import interconnect, namespace
from hil.bench.beginning import Beginning
from hil.bench.checkpoint import CheckpointVerbs, go_on, restore
from hil.bench.disk import DiskVerbs, check_nodes
from hil.bench.injections import InjectionVerbs
from hil.bench.links import LinkVerbs
from hil.bench.log import EventLog
from hil.checkpoint import Checkpoint
from hil.errors import InvalidRun, LaboratoryError, UsageError
from hil.qemu import freeze
from hil.qemu.machine import Machine

REBOOT = -1
"""Stands among libvirt's lifecycle numbers for its separate reboot event."""
RESET_ECHO_S = 1.0
"""QEMU's repeated reports of one reset were 40 ms apart; no kernel gets as far as another reset within a second."""

REASON_SIZE_MAX = 800
"""Of a panic: it is one record of the kernel's log, and those end at 976 bytes."""

SSH_PORT = 22
SSH_CONNECT_TIMEOUT_S = 20.0
SSH_RETRY_PERIOD_S = 0.1
"""Between two tries: a guest tells nobody that its SSH server has begun to listen."""

STOPPED_DETAIL = {0: "shutdown", 1: "destroyed", 2: "crashed", 3: "migrated", 4: "saved", 5: "failed", 6: "snapshot"}
CRASHED_DETAIL = {0: "panicked", 1: "crash-loaded"}


class Bench(DiskVerbs, LinkVerbs, InjectionVerbs, CheckpointVerbs):
    """All machines of one cluster. Verbs are called from the clients' threads."""

    def __init__(self, log: EventLog) -> None:
        DiskVerbs.__init__(self, log)
        LinkVerbs.__init__(self)
        InjectionVerbs.__init__(self)
        self.links = interconnect
        self.stop_requested = threading.Event()
        self.machines: list[Machine] = []
        self.beginning: Beginning | None = None
        self._lifecycle: queue.SimpleQueue[tuple[str, int, int] | None] = queue.SimpleQueue()
        self._by_name: dict[str, Machine] = {}
        self._reset_at: dict[int, float] = {}
        self._reset_lock = threading.Lock()

    def adopt(self, machines: list[Machine]) -> None:
        """Take over the machines and begin to report what libvirt says of them."""
        self.machines = machines
        self._by_name = {machine.spec.name: machine for machine in machines}
        for machine in machines:
            machine.on_waiting = partial(self._guestd_waits, machine)
        threading.Thread(target=self._report_lifecycle, name="lifecycle", daemon=True).start()

    def start(self, beginning: Beginning) -> None:
        """Switch on all machines of a new cluster, at the same instant."""
        self.beginning = beginning
        self._power([machine.node for machine in self.machines], "on", beginning.power_on)
        beginning.go()

    def go_on(self, saved: Checkpoint, beginning: Beginning) -> None:
        """Have all machines where ``saved`` has them, and let them go on at the same instant."""
        self.beginning = beginning
        restore(self.machines, saved)
        self.log.emit("checkpoint-restored", checkpoint=saved.name)
        go_on(self.machines)

    def on_lifecycle(self, name: str, event: int, detail: int) -> None:
        """libvirt's callback; its thread must not wait, so a thread of our own reports it."""
        self._lifecycle.put((name, event, detail))

    def on_reboot(self, name: str) -> None:
        """libvirt's callback for a reset of the machine, by the guest or by :meth:`reset`."""
        self._lifecycle.put((name, REBOOT, 0))

    def watch_disk(self, process: subprocess.Popen[bytes], control: Path) -> None:
        """Report the disk's faults, and the end of the SCSI target's process, which nobody asked for, as events."""
        self.connect_disk(control)
        threading.Thread(target=self._await_disk, args=(process,), name="disk", daemon=True).start()

    # -- verbs ---------------------------------------------------------------------------------------------------

    def power_off(self, nodes: list[int]) -> dict[str, Any]:
        """Pull the plug of ``nodes`` at the same instant; the spread in seconds is in the answer.

        What they left in a volatile cache of the disk is lost before this returns.
        """
        return self._power(nodes, "off", Machine.power_off, self.lose_cache)

    def power_on(self, nodes: list[int]) -> dict[str, Any]:
        """Switch ``nodes`` on at the same instant."""
        return self._power(nodes, "on", Machine.power_on)

    def power_cycle(self, nodes: list[int]) -> dict[str, Any]:
        """Off, then on, all of ``nodes``: none is switched on before the last is off."""
        self.power_off(nodes)
        return self.power_on(nodes)

    def reset(self, nodes: list[int]) -> dict[str, Any]:
        """Press the reset button of ``nodes``; answers when libvirt has done it."""
        for machine in self._chosen(nodes):
            machine.reset()
            self._report_reset(machine)
        return {"nodes": nodes}

    def shutdown(self, nodes: list[int]) -> dict[str, Any]:
        """Order ``nodes`` to leave the cluster gracefully and halt; answers when the order is sent."""
        return self._order(nodes, "leave")

    def panic(self, nodes: list[int], reason: str) -> dict[str, Any]:
        """Order the kernels of ``nodes`` to panic."""
        if len(reason.encode()) > REASON_SIZE_MAX:
            raise UsageError(f"panic: a reason of {len(reason.encode())} bytes; legal are up to {REASON_SIZE_MAX}")
        return self._order(nodes, "panic", reason=reason)

    def freeze(self, nodes: list[int], how: str) -> dict[str, Any]:
        """Have ``nodes`` stand still: ``how`` is "vcpu" or "process" (see :mod:`hil.qemu.freeze`)."""
        if how not in freeze.WAYS:
            raise UsageError(f"freeze: how is {' or '.join(freeze.WAYS)}, not {how!r}")
        for machine in self._chosen(nodes):
            machine.freeze(how)
            self.log.emit("fault-injected", fault=f"freeze-{how}", node=machine.node, verified=True)
        return {"nodes": nodes}

    def thaw(self, nodes: list[int]) -> dict[str, Any]:
        """Let ``nodes`` go on; fine if none of them is frozen."""
        thawed = []
        for machine in self._chosen(nodes):
            how = machine.thaw()
            if how is not None:
                self.log.emit("fault-healed", fault=f"freeze-{how}", node=machine.node, verified=True)
                thawed.append(machine.node)
        return {"nodes": nodes, "thawed": thawed}

    def standing(self, nodes: list[int]) -> dict[str, Any]:
        """How ``nodes`` stand still at this moment, each "vcpu", "process", or None: looked at, not remembered."""
        return {"how": [machine.stands() for machine in self._chosen(nodes)]}

    def open_ssh(self, node: int) -> socket.socket:
        """A TCP connection to the SSH server of ``node`` over the management bridge."""
        (machine,) = self._chosen([node])
        power = self.log.power(node)
        if power != "running":
            raise UsageError(f"node {node}'s machine is {power}; `hil power cycle {node}` starts it anew")
        host = f"{namespace.MANAGEMENT_PREFIX}{machine.node + 1}"
        deadline = time.monotonic() + SSH_CONNECT_TIMEOUT_S
        connected = None
        while connected is None:
            try:
                connected = socket.create_connection((host, SSH_PORT), timeout=SSH_CONNECT_TIMEOUT_S)
            except ConnectionRefusedError as error:  # the last that a node starts: it is about to
                if time.monotonic() > deadline or self.log.power(node) != "running":
                    raise self._no_ssh(node, error) from None
                time.sleep(SSH_RETRY_PERIOD_S)
            except OSError as error:
                raise self._no_ssh(node, error) from None
        connected.settimeout(None)  # a timeout makes the socket non-blocking, also for the process that it is given to
        return connected

    @staticmethod
    def _no_ssh(node: int, error: OSError) -> LaboratoryError:
        return LaboratoryError(f"node {node} does not answer on SSH yet ({error}); `hil console {node}`")

    def down(self) -> dict[str, Any]:
        """End the bench and with it everything of the cluster."""
        self.log.emit("bench-stopping", reason="down")
        self.stop_requested.set()
        return {}

    # -- inside --------------------------------------------------------------------------------------------------

    def node_count(self) -> int:
        """Of ``DiskVerbs`` and ``LinkVerbs``."""
        return len(self.machines)

    def carrier(self, node: int) -> str:
        """Of ``LinkVerbs``."""
        return self.machines[node].interconnect_link

    def seen_carrier(self, node: int) -> str:
        """Of ``LinkVerbs``: libvirt's word."""
        machine = self.machines[node]
        with machine.held() as domain:
            machine.check_answers()
            return "absent" if domain is None else interconnect.carrier(domain, node)

    def set_carrier(self, node: int, state: str) -> None:
        """Of ``LinkVerbs``."""
        machine = self.machines[node]
        with machine.held() as domain:
            machine.check_answers()
            if domain is not None:
                try:
                    interconnect.set_carrier(domain, node, state)
                except libvirt.libvirtError as error:
                    raise LaboratoryError(f"node {node}: its carrier cannot be set {state}: {error}") from None
            machine.interconnect_link = state

    def _chosen(self, nodes: list[int]) -> list[Machine]:
        check_nodes(nodes, len(self.machines))
        return [self.machines[node] for node in nodes]

    def _power(
        self,
        nodes: list[int],
        action: str,
        verb: Callable[[Machine], bool],
        then: Callable[[list[int]], dict[str, Any]] = lambda changed: {},
    ) -> dict[str, Any]:
        chosen = self._chosen(nodes)
        started = time.monotonic()
        with ThreadPoolExecutor(max_workers=max(1, len(chosen))) as pool:
            changed = [m.node for m, did in zip(chosen, pool.map(verb, chosen), strict=True) if did]
        spread_s = round(time.monotonic() - started, 3)
        more = then(changed)
        self.log.emit("power", action=action, nodes=nodes, changed=changed, spread_s=spread_s, **more)
        if "cache_error" in more:
            raise InvalidRun(f"the disk's cache was not lost as it should be: {more['cache_error']}")
        return {"nodes": nodes, "changed": changed, "spread_s": spread_s}

    def _order(self, nodes: list[int], order: str, **fields: Any) -> dict[str, Any]:
        for machine in self._chosen(nodes):
            machine.order(order, **fields)
        return {"nodes": nodes}

    def _guestd_waits(self, machine: Machine) -> None:
        threading.Thread(target=self._begin, args=(machine,), name=f"begin-{machine.node}", daemon=True).start()

    def _begin(self, machine: Machine) -> None:
        if self.beginning is not None and (told := self.beginning.waits(machine)) is not None:
            self.log.emit("machine-saved", node=machine.node, **told)

    def _await_disk(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        if not self.stop_requested.is_set():
            self.log.emit("disk-exited", status=status)

    def _report_reset(self, machine: Machine) -> None:
        """Report one reset once: QEMU tells of it up to three times, and the verb that asked for it knows already."""
        with self._reset_lock:
            now = time.monotonic()
            if now - self._reset_at.get(machine.node, -RESET_ECHO_S) >= RESET_ECHO_S:
                self.log.emit("machine-reset", node=machine.node)
            self._reset_at[machine.node] = now

    def _report_lifecycle(self) -> None:
        kinds = {
            libvirt.VIR_DOMAIN_EVENT_STARTED: "machine-started",
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "machine-paused",
            libvirt.VIR_DOMAIN_EVENT_RESUMED: "machine-resumed",
            libvirt.VIR_DOMAIN_EVENT_STOPPED: "machine-stopped",
            libvirt.VIR_DOMAIN_EVENT_CRASHED: "machine-crashed",
        }
        while (item := self._lifecycle.get()) is not None:
            name, event, detail = item
            machine = self._by_name.get(name)
            kind = kinds.get(event)
            if machine is None:
                continue
            if event == REBOOT:
                machine.guest_has_ended()
                self._report_reset(machine)
                continue
            if kind is None:
                continue
            power = self.log.power(machine.node)
            if kind == "machine-resumed" and power != "paused":
                continue  # libvirt starts every machine paused and resumes it: that is its start
            if kind == "machine-paused" and detail == libvirt.VIR_DOMAIN_EVENT_SUSPENDED_RESTORED:
                continue  # so is this, of one that was saved
            if kind == "machine-started" and power == "paused":
                continue  # the cluster's checkpoint has it on, and paused: this is how it comes to be so
            fields: dict[str, Any] = {}
            if kind == "machine-stopped":
                machine.has_ended()
                # A QEMU that was killed is "failed" or "destroyed" to libvirt, whichever thread of it comes first.
                known = "destroyed" if machine.plug_pulled else STOPPED_DETAIL.get(detail, str(detail))
                fields["detail"] = known
            elif kind == "machine-crashed":
                machine.guest_has_ended()
                fields["detail"] = CRASHED_DETAIL.get(detail, str(detail))
            self.log.emit(kind, node=machine.node, **fields)
