"""One node's machine over its many power cycles: libvirt's domain, the line to its guestd, and its orders."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt

from hil.bench.log import EventLog
from hil.errors import InvalidRun, LaboratoryError, UsageError
from hil.qemu import freeze, memory
from hil.qemu.channel import GuestChannel
from hil.qemu.domain import MachineSpec, domain_xml
from hil.qemu.hypervisor import Hypervisor

CHANGE_TIMEOUT_S = 30.0
"""libvirt reports a power change within a second; an overloaded host may take several."""

ENTROPY_BYTES = 64

NOTICE_TIMEOUT_S = 1.0
"""libvirt notices within milliseconds that a QEMU was killed."""

VERB_PATIENCE_S = 5.0
"""How long a power-off lets another verb finish: a reset takes milliseconds, a start under load a second or two."""


class Machine:
    """Power verbs return when libvirt has reported the new state, so a verb that returned has happened."""

    def __init__(self, spec: MachineSpec, hypervisor: Hypervisor, log: EventLog) -> None:
        self.spec = spec
        self.node = spec.node
        self.interconnect_link = "up"
        self.on_waiting: Callable[[], None] = lambda: None
        """Called, in a thread that must not wait, when guestd waits to begin."""
        self._hypervisor = hypervisor
        self._log = log
        self.plug_pulled = False
        self.frozen: str | None = None
        """How (:data:`hil.qemu.freeze.WAYS`)."""
        self._domain: libvirt.virDomain | None = None
        self._channel: GuestChannel | None = None
        self._lock = threading.Lock()

    def power_on(self, initrd: Path | None = None) -> bool:
        """Start the machine, with another initrd than its own if given; False if it was on already."""
        spec = self.spec if initrd is None else dataclasses.replace(self.spec, initrd=initrd)
        return self._power_on(lambda: self._hypervisor.create(domain_xml(spec, self.interconnect_link)))

    def power_on_saved(self, memory: Path) -> bool:
        """Start the machine where one that waited to begin was saved, suspended; False if it was on already.

        Raises :class:`LaboratoryError`; then the machine is off.
        """
        return self._power_on(lambda: self._hypervisor.restore(memory, self.spec), saved=True)

    def _power_on(self, start: Callable[[], libvirt.virDomain], **about: bool) -> bool:
        with self._lock:
            if self._log.power(self.node) != "off":
                return False
            self._hang_up()
            self.plug_pulled = False
            self.frozen = None
            self._log.emit("machine-starting", node=self.node, **about)
            try:
                self._hypervisor.await_forgotten(self.spec.name)
                self._domain = start()
            except LaboratoryError as error:
                # libvirt reports no end of what never began. One that was saved can still boot.
                again = {"again": True} if about.get("saved") else {}
                self._log.emit("machine-stopped", node=self.node, detail="failed", reason=str(error), **again)
                raise
            self._connect()
            self._await(lambda power: power != "starting", "started")
            if self._log.power(self.node) == "off":
                raise LaboratoryError(f"node {self.node}: QEMU ended as soon as it had started; see bench.log")
            return True

    def restore(self, memory: Path, line: dict[str, Any]) -> None:
        """Put the machine where the cluster's checkpoint has it, suspended; ``line`` is what :meth:`save` told.

        The events say already that it is on, and paused. Raises :class:`LaboratoryError`.
        """
        with self._lock:
            self._domain = self._hypervisor.restore(memory, self.spec)
            self._connect(line)

    def save(self, domain: libvirt.virDomain, path: Path) -> dict[str, Any]:
        """Write ``domain``, which is suspended, to ``path``; how far the line to guestd has come, for the way back.

        To be called with the machine :meth:`held`. Raises :class:`LaboratoryError`.
        """
        memory.save(domain, path, self.spec.luns)
        return self._channel.state() if self._channel is not None else {}

    def save_waiting(self, path: Path) -> None:
        """Write the machine, whose guestd waits to begin, to ``path``; it goes on afterwards in every case."""
        with self._lock:
            domain = self._running()
            try:
                self.suspend(domain)
                memory.save(domain, path, self.spec.luns)
            finally:
                self.resume(domain)

    def suspend(self, domain: libvirt.virDomain) -> None:
        """Stop the virtual processors of ``domain``; returns when they stand, and the events say so.

        To be called with the machine :meth:`held`.
        """
        try:
            domain.suspend()
        except libvirt.libvirtError as error:
            raise LaboratoryError(f"node {self.node} cannot be stopped: {error}") from None
        self._await(lambda power: power != "running", "paused")

    def resume(self, domain: libvirt.virDomain) -> None:
        """Let the processors of ``domain`` go on; fine if they do. To be called with the machine :meth:`held`."""
        try:
            if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()
        except libvirt.libvirtError as error:
            raise LaboratoryError(f"node {self.node} cannot go on: {error}") from None
        self._await(lambda power: power != "paused", "resumed")

    def freeze(self, how: str) -> None:
        """Have the machine stand still; verified. Raises :class:`UsageError` unless it runs and is not frozen."""
        with self._lock:
            domain = self._running()
            if how == "vcpu":
                self.suspend(domain)
            else:
                freeze.stop_process(self._process(domain))
            self.frozen = how

    def thaw(self) -> str | None:
        """Let the machine go on; verified. How it had been frozen, None if it was not."""
        with self._lock:
            how, domain = self.frozen, self._domain
            if how is None or domain is None or self._log.power(self.node) == "off":
                return None
            if how == "vcpu":
                self.resume(domain)
            else:
                freeze.continue_process(self._process(domain))
            self.frozen = None
            return how

    def stands(self) -> str | None:
        """How the machine stands still at this moment: by its emulator's threads, then by libvirt's word."""
        with self._lock:
            domain = self._domain
            if domain is None or self._log.power(self.node) == "off":
                return None
            if freeze.stands(self._process(domain)):
                return "process"
            return "vcpu" if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED else None

    def _process(self, domain: libvirt.virDomain) -> int:
        try:
            return self._hypervisor.process_of(domain)
        except (OSError, ValueError) as error:
            raise InvalidRun(f"node {self.node}: QEMU's process is not known: {error}") from None

    def begin(self, seed: dict[str, str]) -> None:
        """Tell a guestd that waits who it is (``guestd.runtime.begin``), what time it is, and give it randomness."""
        secret = {"files": seed, "entropy": os.urandom(ENTROPY_BYTES).hex(), "time_ns": time.time_ns()}
        self._send_order("begin", secret, told={})

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
            if self._domain is None:  # could not be restored: libvirt reports no end of what never was
                self._log.emit("machine-stopped", node=self.node, detail="failed")
                return False
            self._pull_the_plug()
            if not self._log.wait_for(lambda view: view.nodes[self.node].power == "off", NOTICE_TIMEOUT_S):
                self._hypervisor.destroy(self._domain)
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
        self._send_order(order, fields, told=fields)

    def orders_unread(self) -> int:
        """Bytes of orders that the machine has not taken yet."""
        return self._channel.unread() if self._channel is not None else 0

    def _send_order(self, order: str, fields: dict[str, Any], told: dict[str, Any]) -> None:
        with self._lock:
            self._running()
            if self._log.guestd(self.node) == "exited":
                raise UsageError(f"node {self.node}'s guestd has ended; `hil power cycle {self.node}` starts it anew")
            try:
                number = self._channel.send_order(order, fields) if self._channel else 0
            except OSError as error:
                raise LaboratoryError(f"node {self.node}: the line to guestd is dead: {error}") from None
        self._log.emit("order-sent", node=self.node, order_n=number, order=order, **told)

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

    def _connect(self, line: dict[str, Any] | None = None) -> None:
        try:
            self._channel = GuestChannel(self.spec.channel, self._emit, line)
        except OSError as error:
            self._pull_the_plug()
            raise LaboratoryError(f"node {self.node}: QEMU offers no line to guestd: {error}") from None

    def check_answers(self) -> None:
        """Raises :class:`UsageError` while QEMU is stopped: libvirt would wait for its answer, without a limit."""
        if self.frozen == "process" and self._log.power(self.node) != "off":
            raise self._is_frozen()

    def _is_frozen(self) -> UsageError:
        return UsageError(f"node {self.node} is frozen ({self.frozen}); `hil thaw {self.node}` first")

    def _running(self) -> libvirt.virDomain:
        power = self._log.power(self.node)
        if self.frozen is not None and power in ("running", "paused"):
            raise self._is_frozen()
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
        if kind == "guestd-waiting":
            self.on_waiting()
