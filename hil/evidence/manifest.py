"""``manifest.json``: what ran, where, and the command that has it run again.

Written when a run begins, so that one that is killed has it, too; who runs a scenario adds what it is.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from hil import __version__
from hil.errors import UsageError
from hil.evidence import layout
from hil.host import Host
from hil.view import RECORDING

QEMU: Final = "qemu"
SIM: Final = "sim"
ROOT: Final = Path(__file__).parents[2]
_LIBVIRT_PARTS: Final = 1000


@dataclass(frozen=True)
class Scenario:
    """A test that a run is of."""

    test: str
    """FILE::TEST as ``hil run`` takes it; FILE from the checkout, or from where it was run, where it lies in there."""
    digest: str
    """SHA-256 of the file."""
    nodes: int | None = None
    """Of ``--nodes``; None: the marker's."""
    seed: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Others of the command line that change what happens."""


@dataclass(frozen=True)
class Manifest:
    """Of one run."""

    format: int
    recording: int
    """Version of the event stream."""
    created: str
    """ISO 8601, UTC."""
    backend: Literal["qemu", "sim"]
    config: dict[str, Any]
    """The cluster file, each key (docs/cluster-file.md)."""
    timing: dict[str, int]
    """Milliseconds, as they were on that machine."""
    timing_factor: float
    accelerator: str
    guestd: str
    """Digest of the sources of guestd that ran."""
    image: str | None = None
    """Digest of the guests' image."""
    checkpoint: str | None = None
    """What the cluster went on from."""
    seed: int | None = None
    simulation: dict[str, Any] | None = None
    """The options of the simulated world."""
    versions: dict[str, str] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    scenario: Scenario | None = None
    repeat: str | None = None
    """The command that runs it again: what was typed, or that of one test of several."""

    @property
    def nodes(self) -> int:
        """How many the cluster has."""
        return int(self.config["nodes"])


def describe(backend: Literal["qemu", "sim"], config: Mapping[str, Any], settings: Mapping[str, Any]) -> Manifest:
    """Of a run that begins on this host; ``config`` and ``settings`` as in ``cluster.json``."""
    return Manifest(
        format=layout.FORMAT,
        recording=RECORDING,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        backend=backend,
        config=dict(config),
        timing=settings["timing"],
        timing_factor=settings["timing_factor"],
        accelerator=settings["accelerator"],
        guestd=guestd_digest(),
        image=settings.get("image_digest"),
        checkpoint=settings.get("checkpoint"),
        seed=settings.get("seed"),
        simulation=settings.get("simulation"),
        versions=_versions(backend),
        host=_host(),
        repeat=shlex.join([Path(sys.argv[0]).stem.replace("__main__", "hil"), *sys.argv[1:]]),
    )


def write(run_dir: Path, manifest: Manifest) -> None:
    """As a whole: who reads it meanwhile has the old one or the new one."""
    pending = run_dir / f".{layout.MANIFEST}.new"
    pending.write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
    pending.replace(run_dir / layout.MANIFEST)


def amend(run_dir: Path, *, repeat: str, scenario: Scenario | None = None) -> None:
    """Add what only the caller of the run knows. A run without a manifest stays without."""
    try:
        known = load(run_dir)
    except UsageError:
        return
    write(run_dir, replace(known, repeat=repeat, scenario=scenario))


def load(run_dir: Path) -> Manifest:
    """Of the run in ``run_dir``. Raises :class:`UsageError`: there is none, it is damaged, or of another format."""
    import pydantic

    path = run_dir / layout.MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
        told = json.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: not the folder of a run, or of one that never began") from None
    except ValueError:
        raise UsageError(f"{path} is damaged: it is no JSON") from None
    found = told.get("format") if isinstance(told, dict) else None
    if found != layout.FORMAT:
        raise UsageError(f"{path} is of format {found!r} (legal: {layout.FORMAT}); use the hil that has recorded it")
    try:  # a bundle comes from anywhere
        manifest = pydantic.TypeAdapter(Manifest).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path} is damaged: {where}: {first['msg'].lower()}") from None
    if type(manifest.config.get("nodes")) is not int or manifest.timing.get("death_ms", 0) <= 0:
        raise UsageError(f"{path} is damaged: config has no nodes, or timing no death_ms")
    return manifest


@cache
def guestd_digest() -> str:
    """SHA-256 over the sources of this checkout's guestd, names and contents."""
    from images.digest import directory_parts, hash_parts

    return hash_parts(directory_parts("guestd", ROOT / "guestd"))


@cache
def _versions(backend: str) -> dict[str, str]:
    from guestd import __version__ as of_guestd

    common = {"hil": __version__, "guestd": of_guestd, "python": platform.python_version()}
    common["kernel"] = platform.release()
    return common if backend == SIM else common | {"qemu": _qemu(), "libvirt": _libvirt()}


def _qemu() -> str:
    from hil.preflight import QEMU as EMULATOR

    said = Host().output([EMULATOR, "--version"]).text
    return said.partition("\n")[0].removeprefix("QEMU emulator version ")


def _libvirt() -> str:
    import libvirt

    number = libvirt.getVersion()
    parts = number // _LIBVIRT_PARTS**2, number // _LIBVIRT_PARTS % _LIBVIRT_PARTS, number % _LIBVIRT_PARTS
    return ".".join(map(str, parts))


@cache
def _host() -> dict[str, Any]:
    host = Host()
    release = dict(line.partition("=")[::2] for line in (host.text("/etc/os-release") or "").splitlines())
    models = [
        line.partition(":")[2].strip()
        for line in (host.text("/proc/cpuinfo") or "").splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": release.get("PRETTY_NAME", "unknown").strip('"'),
        "machine": platform.machine(),
        "processor": models[0] if models else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": memory >> 20,
    }
