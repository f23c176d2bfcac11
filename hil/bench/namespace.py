"""What the bench sets up in its own namespaces: a private ``/run`` and two bridges.

Nothing here has an undo: the kernel drops it with the namespaces.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from hil import paths
from hil.errors import LaboratoryError

RUN = Path("/run/hil")
"""Sockets and libvirt's root: on a tmpfs of the bench's mount namespace. Short, for a socket path has 108 bytes."""

INTERCONNECT = "interconnect"
MANAGEMENT = "management"
INTERCONNECT_PREFIX = "10.77.0."
MANAGEMENT_PREFIX = "10.78.0."
MANAGEMENT_HOST = MANAGEMENT_PREFIX + "254"


def interconnect_tap(node: int) -> str:
    """The host's end of the interconnect card of ``node``."""
    return f"ic{node}"


def node_of_tap(tap: str) -> int:
    """Whose interconnect card it is: the inverse of :func:`interconnect_tap`."""
    return int(tap.removeprefix("ic"))


def management_tap(node: int) -> str:
    """The host's end of the management card of ``node``."""
    return f"mg{node}"


def prepare() -> None:
    """Mount the private directories and make the bridges. Raises :class:`LaboratoryError` naming the command."""
    _mount_run()
    _make_bridges()


def _mount_run() -> None:
    run_command(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"])
    root = RUN / "libvirt"
    for path in (RUN, root / "etc", root / "cache"):
        path.mkdir(parents=True, exist_ok=True)
    # libvirt probes QEMU once per state directory (1 to 3 s); its answer outlives the bench.
    cache = paths.cache_dir() / "libvirt"
    cache.mkdir(exist_ok=True)
    run_command(["mount", "--bind", str(cache), str(root / "cache")])


def _make_bridges() -> None:
    for switch in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{switch}/disable_ipv6").write_text("1", encoding="ascii")
    lines = ["link set lo up"]
    for bridge in (INTERCONNECT, MANAGEMENT):
        lines += [f"link add {bridge} type bridge forward_delay 0 mcast_snooping 0", f"link set {bridge} up"]
    lines.append(f"addr add {MANAGEMENT_HOST}/24 dev {MANAGEMENT}")
    run_command(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")


def run_command(command: list[str], stdin: str = "") -> str:
    """Run a system command of the bench; its standard output. Raises :class:`LaboratoryError` with its words."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        raise LaboratoryError(f"`{' '.join(command)}` ended with status {done.returncode}: {words}")
    return done.stdout
