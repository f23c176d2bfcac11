"""One node's machine over its many power cycles: libvirt's domain, the line to its guestd, and its orders."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import libvirt

from hil.bench.log import EventLog
from hil.errors import LaboratoryError, UsageError
from hil.qemu.channel import GuestChannel
from hil.qemu.domain import MachineSpec, domain_xml
from hil.qemu.hypervisor import Hypervisor

CHANGE_TIMEOUT_S = 30.0
"""libvirt reports a power change within a second; an overloaded host may take several."""

VERB_PATIENCE_S = 5.0
"""How long a power-off lets another verb finish: a reset takes milliseconds, a start under load a second or two."""


class Machine:
    """Power verbs return when libvirt has reported the new state, so a verb that returned has happened."""

    def __init__(self, spec: MachineSpec, hypervisor: Hypervisor, log: EventLog) -> None:
        self.spec = spec
        self.node = spec.node
        self.interconnect_link = "up"
        self._hypervisor = hypervisor
        self._log = log
        self.plug_pulled = False
        self._domain: libvirt.virDomain | None = None
        self._channel: GuestChannel | None = None
        self._lock = threading.Lock()

    def power_on(self) -> bool:
        """Start the machine; False if it was on already."""
        with self._lock:
            if self._log.power(self.node) != "off":
                return False
            self._hang_up()
            self.plug_pulled = False
            self._log.emit("machine-starting", node=self.node)
            try:
                self._domain = self._hypervisor.create(domain_xml(self.spec, self.interconnect_link))
            except LaboratoryError as error:
                # libvirt reports no end of what never began.
                self._log.emit("machine-stopped", node=self.node, detail="failed", reason=str(error))
                raise
            try:
                self._channel = GuestChannel(self.spec.channel, self._emit)
            except OSError as error:
                self._pull_the_plug()
                raise LaboratoryError(f"node {self.node}: QEMU offers no line to guestd: {error}") from None
            self._await(lambda power: power != "starting", "started")
            if self._log.power(self.node) == "off":
                raise LaboratoryError(f"node {self.node}: QEMU ended as soon as it had started; see bench.log")
            return True

    def power_off(self) -> bool:
        """Pull the plug; False if it was off already. Also ends a crashed machine."""
        pulled = False
        while not self._lock.acquire(timeout=VERB_PATIENCE_S):
            # Another verb waits for a QEMU that hangs, in a call of libvirt that has no limit. This lets it go.
            self._pull_the_plug()
            pulled = True
        try:
            if self._log.power(self.node) == "off":
                return pulled
            self._pull_the_plug()
            self._await(lambda power: power == "off", "stopped")
            return True
        finally:
            self._lock.release()

    def reset(self) -> None:
        """Press the reset button. Raises :class:`UsageError` unless the machine runs."""
        with self._lock:
            domain = self._running()
            try:
                domain.reset(0)
            except libvirt.libvirtError as error:
                raise LaboratoryError(f"node {self.node}: no reset: {error}") from None

    def order(self, order: str, **fields: Any) -> None:
        """Send an order to guestd, which takes it when it has started.

        Raises :class:`UsageError` unless the machine runs, and if its guestd has ended.
        """
        with self._lock:
            self._running()
            if self._log.guestd(self.node) == "exited":
                raise UsageError(f"node {self.node}'s guestd has ended; `hil power cycle {self.node}` starts it anew")
            try:
                number = self._channel.send_order(order, fields) if self._channel else 0
            except OSError as error:
                raise LaboratoryError(f"node {self.node}: the line to guestd is dead: {error}") from None
        self._log.emit("order-sent", node=self.node, order_n=number, order=order, **fields)

    @contextlib.contextmanager
    def held(self) -> Iterator[libvirt.virDomain | None]:
        """The domain, None if the machine is off; its power does not change by a verb meanwhile."""
        with self._lock:
            yield self._domain if self._log.power(self.node) != "off" else None

    def has_ended(self) -> None:
        """libvirt says that QEMU is gone: first report everything that the guest had still sent."""
        if self._channel is not None:
            self._channel.drain()

    def guest_has_ended(self) -> None:
        """libvirt says that the guest crashed or was reset: first report everything that it had still sent."""
        if self._channel is not None:
            self._channel.settle()

    def _running(self) -> libvirt.virDomain:
        power = self._log.power(self.node)
        if power != "running" or self._domain is None:
            raise UsageError(f"node {self.node}'s machine is {power}; `hil power cycle {self.node}` starts it anew")
        return self._domain

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _pull_the_plug(self) -> None:
        if self._domain is not None:
            self.plug_pulled = True
            self._hypervisor.pull_the_plug(self._domain)

    def _await(self, reached: Callable[[str], bool], word: str) -> None:
        if not self._log.wait_for(lambda view: reached(view.nodes[self.node].power), CHANGE_TIMEOUT_S):
            raise LaboratoryError(f"node {self.node}: libvirt did not report the machine as {word}")

    def _emit(self, kind: str, fields: dict[str, Any]) -> None:
        # "node" of the guest's own event, if any, is the same number: ours wins.
        self._log.emit(kind, **{**fields, "node": self.node})
