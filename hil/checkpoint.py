"""Checkpoints on the host's disk: a whole living cluster, to go on from as often as one likes.

A checkpoint is a directory::

    checkpoint.json          what it is of, and every file's length and digest; written last
    n<i>.memory              memory and devices of each node that was on
    disk.raw, ledger.bin …   the shared disk, disk-1.raw … its further LUNs, its target's memory and record
    events.jsonl             all that had happened
    seed.json, id_ed25519 …  the cluster's keys and what its nodes were told

It depends on the image, and on QEMU and libvirt, so it is of use on the machine that made it (docs/checkpoints.md).
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil import paths
from hil.errors import UnknownCheckpoint, UsageError
from hil.evidence.layout import EVENTS, is_disk
from hil.files import copy_sparse, measure

if TYPE_CHECKING:
    from hil.config import ClusterConfig

VERSION: Final = 1
MANIFEST: Final = "checkpoint.json"
TARGET: Final = "target.json"


def memory_file(node: int) -> str:
    """Where the memory of ``node`` is in a checkpoint."""
    return f"n{node}.memory"


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint is of."""

    version: int
    config: dict[str, Any]
    """The cluster's configuration, with the name it had."""
    accelerator: str
    image: str
    """The image's digest."""
    versions: str
    """Of QEMU and libvirt."""
    cluster_id: str
    created: str
    """ISO 8601, UTC."""
    epoch: int
    master: int | None
    members: list[int]
    lines: dict[str, dict[str, Any]]
    """For each node that is on, how far its line to guestd had come."""
    files: dict[str, list[Any]]
    """Name to length in bytes and digest (``hil.files``)."""


@dataclass(frozen=True)
class Checkpoint:
    """One that is whole."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """What it is called."""
        return self.path.name

    @property
    def size(self) -> int:
        """Bytes that it takes on the disk; the holes of the shared disk take none."""
        return sum((self.path / name).stat().st_blocks * 512 for name in self.manifest.files)

    @property
    def target(self) -> Path:
        """What the SCSI target had in memory."""
        return self.path / TARGET

    @property
    def on(self) -> list[int]:
        """The nodes that are on."""
        return sorted(map(int, self.manifest.lines))

    def config(self, name: str) -> ClusterConfig:
        """The cluster's, under this name."""
        from hil.config import make_config  # not for a bench that starts: it takes long to import

        return make_config(**{**self.manifest.config, "name": name})

    def why_of_no_use(self, image: str, versions: str | None = None) -> str | None:
        """Why no cluster can go on from it with this image (its digest), QEMU and libvirt (None: not looked at)."""
        manifest = self.manifest
        if manifest.image != image:
            return (
                f"checkpoint {self.name} was saved with image {manifest.image[:12]}, and this checkout's is"
                f" {image[:12]}: save it anew, or go back to that checkout"
            )
        if versions is not None and manifest.versions != versions:
            return f"checkpoint {self.name} was saved with another QEMU or libvirt than this host has now: save it anew"
        return None

    def copy_files(self, run_dir: Path) -> None:
        """What the cluster needs to go on, into the new run directory. Raises ``LaboratoryError``."""
        for name in self.manifest.files.keys() - {memory_file(node) for node in self.on} - {TARGET, EVENTS}:
            copy = copy_sparse if is_disk(name) else shutil.copy2
            copy(self.path / name, run_dir / name)

    def history(self, name: str, run_dir: Path) -> list[dict[str, Any]]:
        """The events up to the checkpoint, as those of a cluster ``name`` in ``run_dir``."""
        events = [json.loads(line) for line in (self.path / EVENTS).read_text(encoding="utf-8").splitlines()]
        events[0] |= {"cluster": name, "run_dir": str(run_dir)}
        return events


def directory() -> Path:
    """Where checkpoints are that have a name only."""
    return paths.state_dir() / "checkpoints"


def place(name: str) -> Path:
    """Where the checkpoint ``name`` is, or is to be. Raises ``UsageError`` for a name that cannot be."""
    from hil.config import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"checkpoint {name!r}: a name is a lower-case letter, then up to 30 of a-z, 0-9 and -")
    return directory() / name


def describe(path: Path, manifest: dict[str, Any], files: Iterable[str]) -> None:
    """Write the manifest of the files in ``path``: it is a checkpoint then."""
    measured = {name: list(measure(path / name)) for name in files}
    whole = Manifest(version=VERSION, files=measured, **manifest)
    pending = path / f"{MANIFEST}.new"
    with open(pending, "w", encoding="utf-8") as file:
        json.dump(asdict(whole), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    pending.rename(path / MANIFEST)


def load(path: Path, *, verify: bool = True) -> Checkpoint:
    """The checkpoint in the directory ``path``; ``verify``: read all of it and compare with the digests.

    Raises :class:`UnknownCheckpoint` if there is none, ``UsageError`` if it is damaged, or not whole.
    """
    if not path.is_dir():
        there = ", ".join(checkpoint.name for checkpoint in everything(path.parent)) or "none"
        raise UnknownCheckpoint(f"no checkpoint {path.name!r}; there are: {there}")
    try:
        told = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if told["version"] != VERSION:
            raise UsageError(f"checkpoint {path.name} is of version {told['version']}, not {VERSION}: save it anew")
        manifest = Manifest(**told)
        wrong = [name for name, about in manifest.files.items() if not _is_whole(path / name, about, verify=verify)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(
            f"checkpoint {path.name} is damaged or was never completed ({error!r}); `hil checkpoint remove {path.name}`"
        ) from None
    if wrong:
        raise UsageError(
            f"checkpoint {path.name} is damaged: {', '.join(wrong)} changed; `hil checkpoint remove {path.name}`"
        )
    return Checkpoint(path, manifest)


def _is_whole(path: Path, about: list[Any], *, verify: bool) -> bool:
    if verify:
        return list(measure(path)) == about
    return bool(path.stat().st_size == about[0])


def everything(home: Path | None = None) -> list[Checkpoint]:
    """All that are whole by the look of them, by name."""
    found = []
    for path in sorted((home or directory()).glob("[a-z]*")):
        try:
            found.append(load(path, verify=False))
        except UsageError:
            continue
    return found


def broken(home: Path | None = None) -> list[str]:
    """The names of directories that are no whole checkpoints."""
    whole = {checkpoint.name for checkpoint in everything(home)}
    return sorted(path.name for path in (home or directory()).glob("[a-z]*") if path.name not in whole)


def remove(path: Path) -> None:
    """Remove the checkpoint in ``path``, whole or not. Raises :class:`UnknownCheckpoint`."""
    if not path.is_dir():
        load(path)
    shutil.rmtree(path)


def now() -> str:
    """The time for a manifest."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
