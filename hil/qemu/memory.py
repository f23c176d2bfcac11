"""A machine's memory and devices in a file, without its disks: libvirt's external snapshot, and the way back.

The machine is stopped before and goes on after. ``virDomainSave`` would end it.
"""

from __future__ import annotations

from pathlib import Path

import libvirt

from hil.errors import LaboratoryError
from hil.qemu.domain import MachineSpec, adapt_saved, lun_device, quoted


def save(domain: libvirt.virDomain, path: Path, luns: int) -> None:
    """Write the state of ``domain``, which is suspended and has so many shared disks, to the new file ``path``.

    Raises :class:`LaboratoryError` (the disk is full, for one); the machine can be resumed then, too.
    """
    disks = "".join(f"<disk name='{name}' snapshot='no'/>" for name in ("vda", *map(lun_device, range(luns))))
    xml = f"<domainsnapshot><memory snapshot='external' file={quoted(path)}/><disks>{disks}</disks></domainsnapshot>"
    try:
        domain.snapshotCreateXML(xml, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA)
    except libvirt.libvirtError as error:
        raise LaboratoryError(f"{domain.name()} cannot be saved: {error}") from None


def restore(connection: libvirt.virConnect, path: Path, spec: MachineSpec) -> libvirt.virDomain:
    """A machine that stands where the one in ``path`` stood, suspended. Raises :class:`LaboratoryError`."""
    try:
        xml = adapt_saved(connection.saveImageGetXMLDesc(str(path), 0), spec)
        connection.restoreFlags(str(path), xml, libvirt.VIR_DOMAIN_SAVE_PAUSED)
        return connection.lookupByName(spec.name)
    except libvirt.libvirtError as error:
        raise LaboratoryError(f"libvirt cannot restore the machine from {path}: {error}") from None
