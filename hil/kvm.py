"""Does /dev/kvm look usable?  Looking is cheap and proves little: :mod:`hil.machine` boots a kernel on it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass

from hil.host import Host

DEVICE = "/dev/kvm"

# linux/kvm.h: _IO(KVMIO, 0x00) and _IO(KVMIO, 0x01), KVMIO being 0xAE; version 12 is the only one since 2007.
KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
API_VERSION = 12

SLOWER = "machines are emulated (TCG): everything works, some ten times slower"


@dataclass(frozen=True)
class KvmState:
    """What looking at the device shows; ``remedy`` says what would make it usable, if anything on this host can."""

    usable: bool
    text: str
    remedy: str = ""


def look(host: Host) -> KvmState:
    """Open /dev/kvm and have it make an empty machine. Changes nothing; takes under a millisecond."""
    device = host.path(DEVICE)
    if not device.exists():
        if host.device_number("kvm") is not None:
            return KvmState(False, f"{DEVICE} is not in this container; {SLOWER}", "give the container the device")
        return KvmState(False, f"no {DEVICE}; {SLOWER}", "switch virtualisation on in the firmware, if there is any")
    error = host.open_error(DEVICE)
    if error is not None:
        join = host.as_root(f"adduser {host.user_name} kvm")
        remedy = f"{join}, then log in again" if isinstance(error, PermissionError) and host.user_id != 0 else ""
        return KvmState(False, f"{DEVICE} cannot be opened ({error.strerror}); {SLOWER}", remedy)
    try:
        _create_machine(str(device))
    except OSError as failure:
        return KvmState(False, f"{DEVICE} makes no machine ({failure.strerror}); {SLOWER}")
    return KvmState(True, f"{DEVICE} makes machines")


def _create_machine(device: str) -> None:
    """Raises :class:`OSError` unless the device answers as KVM and makes a machine."""
    descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        if fcntl.ioctl(descriptor, KVM_GET_API_VERSION) != API_VERSION:
            raise OSError(0, "another version of the interface")
        os.close(fcntl.ioctl(descriptor, KVM_CREATE_VM, 0))
    finally:
        os.close(descriptor)
