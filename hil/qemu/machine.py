"""One node's machine over its many power cycles: libvirt's domain, the line to its guestd, and its orders."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import libvirt

from hil.bench.log import EventLog
from hil.errors import LaboratoryError, UsageError
from hil.qemu.channel import GuestChannel
from hil.qemu.domain import MachineSpec, domain_xml
from hil.qemu.hypervisor import Hypervisor

CHANGE_TIMEOUT_S = 30.0
"""libvirt reports a power change within a second; an overloaded host may take several."""


class Machine:
    """Power verbs return when libvirt has reported the new state, so a verb that returned has happened."""

    def __init__(self, spec: MachineSpec, hypervisor: Hypervisor, log: EventLog) -> None:
        self.spec = spec
        self.node = spec.node
        self.interconnect_link = "up"
        self._hypervisor = hypervisor
        self._log = log
        self._domain: libvirt.virDomain | None = None
        self._channel: GuestChannel | None = None
        self._lock = threading.Lock()

    def power_on(self) -> bool:
        """Start the machine; False if it was on already."""
        with self._lock:
            if self._log.power(self.node) != "off":
                return False
            self._hang_up()
            self._log.emit("machine-starting", node=self.node)
            self._domain = self._hypervisor.create(domain_xml(self.spec, self.interconnect_link))
            self._channel = GuestChannel(self.spec.channel, self._emit)
            self._await(("running", "paused"), "started")
            return True

    def power_off(self) -> bool:
        """Pull the plug; False if it was off already. Also ends a crashed machine."""
        with self._lock:
            if self._log.power(self.node) == "off":
                return False
            if self._domain is not None:
                # It may have ended by itself in this moment: then libvirt says so and reports it.
                with contextlib.suppress(libvirt.libvirtError):
                    self._domain.destroy()
            self._await(("off",), "stopped")
            return True

    def reset(self) -> None:
        """Press the reset button. Raises :class:`UsageError` unless the machine runs."""
        with self._lock:
            self._running().reset(0)

    def order(self, order: str, **fields: Any) -> None:
        """Send an order to guestd. Raises :class:`UsageError` unless the machine runs."""
        with self._lock:
            self._running()
            try:
                number = self._channel.send_order(order, fields) if self._channel else 0
            except OSError as error:
                raise LaboratoryError(f"node {self.node}: the line to guestd is dead: {error}") from None
        self._log.emit("order-sent", node=self.node, order_n=number, order=order, **fields)

    def live_domain(self) -> libvirt.virDomain | None:
        """The domain if the machine is not off."""
        return self._domain if self._log.power(self.node) != "off" else None

    def has_ended(self) -> None:
        """libvirt says that QEMU is gone: first report everything that the guest had still sent."""
        if self._channel is not None:
            self._channel.drain()

    def _running(self) -> libvirt.virDomain:
        power = self._log.power(self.node)
        if power != "running" or self._domain is None:
            raise UsageError(f"node {self.node}'s machine is {power}; `hil power cycle {self.node}` starts it anew")
        return self._domain

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _await(self, states: tuple[str, ...], word: str) -> None:
        if not self._log.wait_for(lambda view: view.nodes[self.node].power in states, CHANGE_TIMEOUT_S):
            raise LaboratoryError(f"node {self.node}: libvirt did not report the machine as {word}")

    def _emit(self, kind: str, fields: dict[str, Any]) -> None:
        # "node" of the guest's own event, if any, is the same number: ours wins.
        self._log.emit(kind, **{**fields, "node": self.node})
