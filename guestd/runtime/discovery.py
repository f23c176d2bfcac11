"""Finds the shared disk and the host's port by what sysfs says of them: their names may change from boot to boot."""

from __future__ import annotations

import os

BLOCK = "/sys/block"
PORTS = "/sys/class/virtio-ports"


def find_disk(wwid: str, block: str = BLOCK) -> tuple[str | None, list[str]]:
    """The device path of the disk with that identity, or None; and the identities of all disks that were seen."""
    seen = []
    for name in _names(block):
        found = _line(os.path.join(block, name, "device", "wwid"))
        if found:
            seen.append(found)
        if found == wwid:
            return f"/dev/{name}", seen
    return None, seen


def find_port(port_name: str, ports: str = PORTS) -> str | None:
    """The device path of the virtio-serial port with that name, or None."""
    for name in _names(ports):
        if _line(os.path.join(ports, name, "name")) == port_name:
            return f"/dev/{name}"
    return None


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
