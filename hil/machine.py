"""What this machine is worth: does KVM really run our kernel, and how much slower than the reference is a processor?

A device that opens proves nothing. On some virtual machines /dev/kvm makes machines, and a Linux kernel started in
one hangs before its first line; a cluster would then time out node by node. So the answer is measured: the image's own
kernel is started once, and the answer kept until something that it depends on changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hil import kvm, paths
from hil.errors import BadConfig
from hil.host import Host
from hil.preflight import QEMU

Kind = Literal["kvm", "tcg"]
KINDS: dict[str, Kind] = {"kvm": "kvm", "tcg": "tcg"}

OVERRIDE = "HIL_ACCELERATOR"

PROOF_LIMIT_S = 5.0
"""For one start of the kernel on KVM: half a second on bare metal, two in a nested machine."""

PROOF = b"Kernel panic"
"""Without a root file system a kernel that got through all of its start panics, and `quiet` hides only the rest."""

REFERENCE_LOOP_S = 0.020
"""The loop of :func:`_loop_s` where the factor is 1: a core half as fast as a Xeon of 2021, which takes 0.009 s."""

LOOP_COUNT = 400_000

TCG_FACTOR = 8.0
"""Emulated code is five to ten times slower than native code, and what waits for it must be so much more patient."""


class Image(Protocol):
    """A guest image: a directory, named by the digest of its inputs, that holds ``vmlinux``."""

    @property
    def path(self) -> Path:
        """The directory."""


@dataclass(frozen=True)
class Accelerator:
    """How machines run here ("kvm" or "tcg"), and why so."""

    kind: Kind
    why: str


def accelerator(image: Image, host: Host | None = None) -> Accelerator:
    """The accelerator for machines of ``image``: KVM where it is proved to run the image's kernel, else TCG.

    Takes up to :data:`PROOF_LIMIT_S` the first time after a boot of the host, then reads the kept answer. The
    environment variable HIL_ACCELERATOR (kvm or tcg) decides instead; raises :class:`BadConfig` for any other value.
    """
    asked = os.environ.get(OVERRIDE, "")
    if asked in KINDS:
        return Accelerator(KINDS[asked], f"{OVERRIDE}={asked} is set")
    if asked not in ("", "auto"):
        raise BadConfig(f"environment variable {OVERRIDE}: {asked!r} is no accelerator; legal are kvm, tcg and auto")
    host = host or Host()
    state = kvm.look(host)
    if not state.usable:
        return Accelerator("tcg", state.text)
    known = known_accelerator(image, host)
    if known is not None:
        return known
    found = _prove(image, host)
    _write("accelerator.json", _accelerator_key(image, host), {"kind": found.kind, "why": found.why})
    return found


def known_accelerator(image: Image, host: Host) -> Accelerator | None:
    """What an earlier :func:`accelerator` proved of /dev/kvm and ``image``; None if it never did. Starts nothing."""
    kept = _read("accelerator.json", _accelerator_key(image, host))
    if kept is None or kept.get("kind") not in KINDS:
        return None
    return Accelerator(KINDS[str(kept["kind"])], str(kept.get("why", "")))


def _accelerator_key(image: Image, host: Host) -> str:
    return _key(
        host.text("/proc/sys/kernel/random/boot_id"),
        host.text("/proc/sys/kernel/osrelease"),
        _processor_model(host),
        _stamp(host.command(QEMU)),
        _digest(image.path / "vmlinux"),
    )


def _prove(image: Image, host: Host) -> Accelerator:
    command = [
        *(QEMU, "-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "256"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-monitor", "none"),
        *("-kernel", str(image.path / "vmlinux"), "-append", "console=ttyS0 quiet"),
    ]
    said = first_output(command, PROOF, PROOF_LIMIT_S, host.command_path)
    if said is None:
        return Accelerator("kvm", "the image's kernel starts on it")
    last = said.decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
    why = f"{kvm.DEVICE} is there, but a kernel does not start on it within {PROOF_LIMIT_S:.0f} s"
    return Accelerator("tcg", f"{why} (it said: {last[0][-120:]}); {kvm.SLOWER}")


def first_output(command: Sequence[str], wanted: bytes, limit_s: float, command_path: str) -> bytes | None:
    """Run ``command`` until it says ``wanted``, ends, or ``limit_s`` is over; it is gone afterwards in every case.

    None if it said so; else all that it said instead.
    """
    deadline = time.monotonic() + limit_s
    said = b""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PATH": command_path},
    )
    with process:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        try:
            while (left_s := deadline - time.monotonic()) > 0:
                if not select.select([descriptor], [], [], left_s)[0]:
                    break
                part = os.read(descriptor, 65_536)
                said += part
                if wanted in said:
                    return None
                if not part:
                    break
        finally:
            process.kill()
    return said


def speed_factor(kind: str) -> float:
    """By what to multiply a wait that is long enough on the reference machine with KVM; at least 1.

    A small Python loop is timed once per boot of the host and compared with :data:`REFERENCE_LOOP_S`; for emulated
    machines (``kind`` "tcg") the result is :data:`TCG_FACTOR` times that. It only ever lengthens waits.
    """
    host = Host()
    key = _key(host.text("/proc/sys/kernel/random/boot_id"), _processor_model(host), str(LOOP_COUNT))
    kept = _read("speed.json", key)
    loop_s = kept.get("loop_s") if kept else None
    if not isinstance(loop_s, float) or loop_s <= 0:
        loop_s = _loop_s()
        _write("speed.json", key, {"loop_s": loop_s})
    return scale(loop_s, kind)


def scale(loop_s: float, kind: str) -> float:
    """The factor for a machine whose loop takes ``loop_s``."""
    factor = max(1.0, loop_s / REFERENCE_LOOP_S)
    return factor * TCG_FACTOR if kind == "tcg" else factor


def _loop_s() -> float:
    """The best of five: what the processor can do, not what else it was doing."""
    best = float("inf")
    for _ in range(5):
        start, total = time.perf_counter(), 0
        for number in range(LOOP_COUNT):
            total += number & 7
        best = min(best, time.perf_counter() - start)
    return best


def _processor_model(host: Host) -> str:
    lines = (host.text("/proc/cpuinfo") or "").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _stamp(program: str | None) -> str:
    """Changes when the program does; asking it for its version takes longer than all the rest."""
    if program is None:
        return "none"
    about = os.stat(program)
    return f"{about.st_size} {about.st_mtime_ns}"


def _digest(path: Path) -> str:
    """Of the kernel alone: an image with another guestd in it needs no new proof. As the image's manifest has it."""
    try:
        manifest = json.loads((path.parent / "manifest.json").read_text(encoding="utf-8"))
        return str(manifest["files"][path.name]["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _key(*parts: str | None) -> str:
    return hashlib.sha256("\0".join(part or "" for part in parts).encode()).hexdigest()


def _read(name: str, key: str) -> dict[str, object] | None:
    """What was kept under ``name`` for ``key``; None if nothing was, or it is damaged, or for another key."""
    try:
        kept = json.loads((paths.cache_dir() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) and kept.get("key") == key else None


def _write(name: str, key: str, value: dict[str, object]) -> None:
    """Keep ``value``: whole or not at all, for others may read it. A cache that cannot be written is no error."""
    path = paths.cache_dir() / name
    pending = path.with_name(f".{name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        pending.write_text(json.dumps(value | {"key": key}), encoding="utf-8")
        pending.replace(path)
