"""libvirt inside the bench process: what is particular to the embedded driver is here and nowhere else (design 2.2).

``qemu:///embed?root=DIR`` runs libvirt's QEMU driver without any daemon. It wants the event loop registered before
the first connection, a ``qemu.conf`` under its root, and (Debian) the user ``libvirt-qemu`` to exist.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import libvirt

from hil.errors import LaboratoryError
from hil.qemu import memory
from hil.qemu.domain import EMULATOR, MachineSpec

# libvirt asks each new QEMU for some 400 properties of its processor, one by one: 0.1 s a machine, whose answers only
# matter to a migration to another host. Without that capability it asks for all of them at once.
#
# We are root of the bench's own namespaces and of nothing else: no second user, no security labels, no cgroups, no
# helper process for logs, no extended attributes that remember an owner.
QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
capability_filters = [ "cpu-unavailable-features" ]
"""

FORGET_TIMEOUT_S = 5.0
FORGET_PERIOD_S = 0.005

OnLifecycle = Callable[[str, int, int], None]
"""(domain name, event, detail), libvirt's numbers."""


class Hypervisor:
    """One embedded libvirt connection and its event loop. A context manager.

    Machines that still run when it is left end with the bench's PID namespace.
    """

    def __init__(self, root: Path, on_lifecycle: OnLifecycle, on_reboot: Callable[[str], None]) -> None:
        self._root = root
        self._on_lifecycle = on_lifecycle
        self._on_reboot = on_reboot

    def __enter__(self) -> Self:
        (self._root / "etc" / "qemu.conf").write_text(QEMU_CONF, encoding="ascii")
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._run_events, name="libvirt-events", daemon=True).start()
        try:
            self.connection = libvirt.open(f"qemu:///embed?root={self._root}")
        except libvirt.libvirtError as error:
            raise LaboratoryError(f"libvirt's embedded driver does not start: {error}; see `hil doctor`") from None
        register = self.connection.domainEventRegisterAny
        register(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)
        register(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._reboot, None)
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def versions(self, accelerator: str) -> str:
        """What else the state of a machine depends on: libvirt, QEMU and, with KVM, the host's processor and kernel."""
        emulator = os.stat(EMULATOR)
        found = [self.connection.getLibVersion(), emulator.st_size, emulator.st_mtime_ns]
        if accelerator == "kvm":
            found += [platform.release(), self.connection.getCapabilities().partition("</cpu>")[0]]
        return " ".join(map(str, found))

    def await_forgotten(self, name: str) -> None:
        """Wait until no machine has that name any more; libvirt tells of an end a moment before it forgets who ended.

        One that is started in that moment would be refused: it exists already. After :data:`FORGET_TIMEOUT_S` this
        returns all the same, and what is started next says why it cannot be.
        """
        deadline = time.monotonic() + FORGET_TIMEOUT_S
        with contextlib.suppress(libvirt.libvirtError):  # there is none of that name
            while self.connection.lookupByName(name) and time.monotonic() < deadline:
                time.sleep(FORGET_PERIOD_S)

    def create(self, xml: str) -> libvirt.virDomain:
        """Start a machine; raises :class:`LaboratoryError` with libvirt's words."""
        try:
            return self.connection.createXML(xml, 0)
        except libvirt.libvirtError as error:
            raise LaboratoryError(f"libvirt cannot start the machine: {error}") from None

    def restore(self, path: Path, spec: MachineSpec) -> libvirt.virDomain:
        """A machine that goes on, when resumed, where the one that was saved in ``path`` stood."""
        return memory.restore(self.connection, path, spec)

    def pull_the_plug(self, domain: libvirt.virDomain) -> None:
        """End a machine as a power failure does: at once, and with nothing written any more. libvirt notices.

        libvirt's own way begins with SIGTERM: QEMU then flushes its disks, and one that hangs gets ten seconds.
        """
        with contextlib.suppress(OSError, ValueError):  # it ended by itself in this moment
            os.kill(self.process_of(domain), signal.SIGKILL)

    def process_of(self, domain: libvirt.virDomain) -> int:
        """The number of its QEMU's process. Raises OSError or ValueError if it is ending."""
        return int((self._root / "run" / "qemu" / f"{domain.name()}.pid").read_text(encoding="ascii"))

    @staticmethod
    def destroy(domain: libvirt.virDomain) -> None:
        """Have libvirt end a machine, if it does not notice after :meth:`pull_the_plug` that it is gone."""
        with contextlib.suppress(libvirt.libvirtError):
            domain.destroy()

    @staticmethod
    def _run_events() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    def _lifecycle(self, _connection: object, domain: libvirt.virDomain, event: int, detail: int, _: object) -> None:
        self._on_lifecycle(domain.name(), event, detail)

    def _reboot(self, _connection: object, domain: libvirt.virDomain, _: object) -> None:
        self._on_reboot(domain.name())
