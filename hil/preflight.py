"""What this host must have before a cluster can start: one small check per thing, each with what to type.

A check looks at a :class:`~hil.host.Host` and returns a :class:`Finding`: "ok", "notice" (works, but worth knowing),
or "problem" (a cluster cannot start). :func:`findings` runs all of them, :func:`check` refuses to go on when there
is a problem. Nothing here changes the host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import images
from hil import kvm, paths
from hil.config import ClusterConfig
from hil.errors import PreflightFailed
from hil.host import Host
from hil.isolation import isolation, user_namespaces
from hil.memory import free_mib as free_memory_mib

QEMU_MINIMUM = (7, 0)
"""The oldest QEMU that boots a kernel's vmlinux as we do and is still in a supported distribution."""

QEMU = "qemu-system-x86_64"

MACHINE_OVERHEAD_MIB = 96
"""What QEMU needs beside a guest's memory: translated code, device models, libiscsi's buffers.

Measured: 277 MiB resident for each emulated guest of 192 MiB that has joined, 85 MiB more than the guest has.
"""

RUN_SLACK_MIB = 64
"""Consoles, events and the ledger of one run, beside the shared disk's own file."""

IMAGE_BUILD_MIB = images.BUILD_BYTES >> 20
"""Packages, unpacked tree and finished files while the guest image is built."""

LIBVIRT_DRIVERS = (
    "/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so",  # Debian: by architecture
    "/usr/lib*/libvirt/connection-driver/libvirt_driver_qemu.so",
)

MIB = 1024 * 1024

Grade = Literal["ok", "notice", "problem"]


@dataclass(frozen=True)
class Finding:
    """What one check found. ``remedy`` is what to type or do; empty when all is well."""

    check: str
    grade: Grade
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.check}: {self.text}" + (f"\n    {self.remedy}" if self.remedy else "")


class Needs(Protocol):
    """What is going to be started; a :class:`~hil.config.ClusterConfig` is one."""

    @property
    def nodes(self) -> int:
        """How many machines."""

    @property
    def memory_mib(self) -> int:
        """Memory of each of them."""

    @property
    def disk_mib(self) -> int:
        """Size of the shared disk."""

    @property
    def data_disks(self) -> int:
        """How many more LUNs of that size."""


Check = Callable[[Host, Needs], Finding]


def qemu(host: Host, _: Needs) -> Finding:
    """QEMU is there and new enough."""
    if host.command(QEMU) is None:
        return Finding("qemu", "problem", f"{QEMU} is missing", host.install("qemu-system-x86"))
    said = host.output([QEMU, "--version"])
    found = re.search(r"version (\d+)\.(\d+)", said.text)
    if said.status != 0 or found is None:
        return Finding("qemu", "problem", f"{QEMU} --version says: {said.text[:200]}", host.install("qemu-system-x86"))
    version = int(found[1]), int(found[2])
    text = f"QEMU {version[0]}.{version[1]}"
    if version < QEMU_MINIMUM:
        oldest = ".".join(str(part) for part in QEMU_MINIMUM)
        return Finding("qemu", "problem", f"{text} is too old", f"install QEMU {oldest} or newer")
    return Finding("qemu", "ok", text)


def qemu_iscsi(host: Host, _: Needs) -> Finding:
    """QEMU can reach the shared disk: its iSCSI driver is a module in a package of its own."""
    if host.command(QEMU) is None:
        return Finding("qemu-iscsi", "problem", "cannot be tried without QEMU", host.install("qemu-block-extra"))
    # Nothing listens on port 1: with the driver the connection is refused, without it the driver is unknown.
    where = "driver=iscsi,node-name=probe,transport=tcp,portal=127.0.0.1:1,target=iqn.2026-11.hil:probe,lun=0"
    said = host.output([QEMU, "-machine", "none", "-display", "none", "-blockdev", where])
    if "iSCSI:" in said.text:
        return Finding("qemu-iscsi", "ok", "QEMU has the iSCSI block driver")
    last = said.text.splitlines()[-1][-160:] if said.text else "nothing"
    return Finding(
        "qemu-iscsi", "problem", f"QEMU has no iSCSI block driver (it says: {last})", host.install("qemu-block-extra")
    )


def libvirt_binding(_: Host, __: Needs) -> Finding:
    """Python's binding to libvirt loads."""
    try:
        import libvirt
    except ImportError as error:
        return Finding("libvirt-python", "problem", f"cannot be imported: {error}", "rm -r .venv and ./run hil doctor")
    version = libvirt.getVersion()
    return Finding("libvirt-python", "ok", f"libvirt {version // 1_000_000}.{version // 1000 % 1000}")


def libvirt_driver(host: Host, _: Needs) -> Finding:
    """libvirt's driver for QEMU, and the account without which it refuses to initialise."""
    remedy = host.install("libvirt-daemon-system")
    if not any(host.matches(pattern) for pattern in LIBVIRT_DRIVERS):
        return Finding("libvirt-qemu", "problem", "libvirt has no driver for QEMU", remedy)
    accounts = [line.partition(":")[0] for line in (host.text("/etc/passwd") or "").splitlines()]
    if host.is_debian and "libvirt-qemu" not in accounts:
        return Finding("libvirt-qemu", "problem", "there is no user libvirt-qemu", remedy)
    return Finding("libvirt-qemu", "ok", "libvirt's QEMU driver and its user are there")


def tun(host: Host, _: Needs) -> Finding:
    """The device from which network cards of guests are made."""
    device = "/dev/net/tun"
    if not host.path(device).exists():
        number = host.device_number("tun")
        if number is None:
            return Finding("tun", "problem", f"{device} is missing, and so is the driver", host.as_root("modprobe tun"))
        # A container without the node, on a kernel that has the driver.
        make = host.as_root(f"mknod -m 0666 {device} c {number[0]} {number[1]}")
        return Finding("tun", "problem", f"{device} is missing", f"{host.as_root('mkdir -p /dev/net')} && {make}")
    error = host.open_error(device)
    if error is None:
        return Finding("tun", "ok", f"{device} can be opened")
    mode = host.path(device).stat().st_mode & 0o777
    remedy = "give this container the device (docker: --device /dev/net/tun)"
    if host.user_id != 0:
        remedy = host.as_root(f"chmod 0666 {device}")
    return Finding("tun", "problem", f"{device} (mode {mode:04o}) cannot be opened: {error.strerror}", remedy)


def commands(host: Host, _: Needs) -> Finding:
    """The small commands that the bench runs."""
    packages = {
        "tini": "tini",
        "ip": "iproute2",
        "nft": "nftables",
        "unshare": "util-linux",
        "mkfs.erofs": "erofs-utils",
        "ssh": "openssh-client",
    }
    missing = [name for name in packages if host.command(name) is None]
    if not missing:
        return Finding("commands", "ok", ", ".join(packages))
    remedy = host.install(" ".join(packages[name] for name in missing))
    return Finding("commands", "problem", f"missing: {', '.join(missing)}", remedy)


def memory(host: Host, needs: Needs) -> Finding:
    """Enough free memory for all guests at once."""
    wanted_mib = needs.nodes * (needs.memory_mib + MACHINE_OVERHEAD_MIB)
    free = free_memory_mib(host)
    if free is None:
        return Finding("memory", "notice", "free memory is unknown: /proc/meminfo does not tell")
    text = f"{free} MiB free, {needs.nodes} nodes of {needs.memory_mib} MiB need {wanted_mib} MiB"
    if free < wanted_mib:
        return Finding("memory", "problem", text, "free some memory, or ask for fewer nodes: hil up --nodes N")
    return Finding("memory", "ok", text)


def disk_space(_: Host, needs: Needs) -> Finding:
    """Enough free space for the evidence of a run and, less urgently if there is one, for building a guest image."""
    state = paths.runs_dir()
    try:
        cache = paths.cache_dir()
    except OSError as error:
        text = f"{error.filename} cannot be made: {error.strerror}"
        return Finding("disk", "problem", text, "set XDG_CACHE_HOME to a directory of yours")
    if (where := unwritable(str(state))) is not None:
        return Finding("disk", "problem", f"{where} cannot be written", "set XDG_STATE_HOME to a directory of yours")
    state_mib, cache_mib = free_mib(str(state)), free_mib(str(cache))
    wanted_mib = needs.disk_mib * (1 + needs.data_disks) + RUN_SLACK_MIB
    if state_mib < wanted_mib:
        text = f"{state_mib} MiB free in {state}, a run needs {wanted_mib} MiB"
        return Finding("disk", "problem", text, f"rm -r old runs in {state}, or set XDG_STATE_HOME to a larger disk")
    if cache_mib < IMAGE_BUILD_MIB:
        text = f"{cache_mib} MiB free in {cache}, building the guest image takes {IMAGE_BUILD_MIB} MiB"
        # apt-get on a full disk may hang for ever instead of failing: without any image it is not even tried.
        grade: Grade = "notice" if images.list_images() else "problem"
        return Finding("disk", grade, text, "free some space, or set XDG_CACHE_HOME to a larger disk")
    return Finding("disk", "ok", f"{state_mib} MiB free, a run needs {wanted_mib} MiB")


def _existing(path: str) -> str:
    """``path``, or the directory in which it would have to be made."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def unwritable(path: str) -> str | None:
    """The directory that keeps this user from making ``path``, or files in it; None if nothing does."""
    there = _existing(path)
    return None if os.access(there, os.W_OK | os.X_OK) else there


def free_mib(path: str) -> int:
    """Free space for this user, in MiB, of the file system that holds ``path`` or would hold it."""
    status = os.statvfs(_existing(path))
    return status.f_bavail * status.f_frsize // MIB


def processor(host: Host, _: Needs) -> Finding:
    """Hardware support: never needed, so its absence is a notice."""
    state = kvm.look(host)
    if state.usable:
        return Finding("kvm", "ok", f"{state.text}; the first cluster tries whether a kernel starts on it")
    return Finding("kvm", "notice", state.text, state.remedy)


CHECKS: tuple[Check, ...] = (
    qemu,
    qemu_iscsi,
    libvirt_binding,
    libvirt_driver,
    tun,
    lambda host, _: Finding("user-namespaces", *user_namespaces(host)),
    lambda host, _: Finding("isolation", *isolation(host)),
    commands,
    memory,
    disk_space,
    processor,
)


def findings(needs: Needs | None = None, host: Host | None = None) -> list[Finding]:
    """Run every check, for a default cluster unless told; about 0.05 s. Never raises for what it finds."""
    host, needs = host or Host(), needs or ClusterConfig()
    with ThreadPoolExecutor(max_workers=len(CHECKS)) as pool:  # they wait for commands, most of the time
        return list(pool.map(lambda look: look(host, needs), CHECKS))


def check(needs: Needs | None = None, host: Host | None = None) -> None:
    """Raise :class:`~hil.errors.PreflightFailed`, listing every problem and what to type, unless there is none."""
    problems = [finding for finding in findings(needs, host) if finding.grade == "problem"]
    if problems:
        lines = "\n".join(f"  {finding}" for finding in problems)
        raise PreflightFailed(f"this host cannot run the cluster yet (all of it: hil doctor):\n{lines}")
