"""Saved machines: nodes with their kernel up and guestd loaded but not begun, from which a cluster starts at once.

An entry is a directory of the cache, named by a hash of everything that the memory in it depends on: the image, the
machine's description, the shared disk's size, QEMU and libvirt, this format. ``memory`` is libvirt's file, and
``entry.json`` its length and digest, so that one that was cut short or changed is found out, thrown away and made
anew. What no two starts may share is not in it (``guestd.runtime.begin``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from hil import paths
from hil.files import measure
from hil.qemu.domain import MachineSpec, domain_xml

FORMAT: Final = 1
MEMORY: Final = "memory"
ENTRY: Final = "entry.json"
UNUSED_DAYS_MAX: Final = 14
"""An entry that no cluster started from in that time is removed when another one is saved."""

IMAGES_MAX: Final = 3
"""Entries of more images than these are removed when another one is saved, the longest unused first: whoever changes
guestd has a new image a minute."""

_NOWHERE: Final = Path("/")
_PENDING: Final = ".new-"


class Entry(NamedTuple):
    """One saved node."""

    path: Path
    node: int
    image: str
    size: int
    """Bytes."""
    used: float
    """When a cluster last started from it, seconds since 1970."""


def directory() -> Path:
    """Where the entries are."""
    return paths.cache_dir() / "warm"


def key(spec: MachineSpec, image_digest: str, disk_mib: int, versions: str) -> str:
    """The name of the entry for this machine; whose cluster it is, and where it writes its console, has no part in it.

    ``versions``: of QEMU, libvirt and, with KVM, the processor.
    """
    anonymous = dataclasses.replace(spec, cluster="", console=_NOWHERE, initrd=_NOWHERE)
    parts = [str(FORMAT), image_digest, str(disk_mib), versions, domain_xml(anonymous, "up")]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=10).hexdigest()


def find(name: str) -> Path | None:
    """The memory of the entry ``name``; None if there is none. One that is damaged is removed."""
    path = directory() / name
    try:
        about = json.loads((path / ENTRY).read_text(encoding="utf-8"))
        expected = (about["bytes"], about["xxh3"], about["key"])
        found = (*measure(path / MEMORY), name)
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    else:
        whole = found == expected
    if not whole:
        discard(name)
        return None
    with contextlib.suppress(OSError):
        os.utime(path / ENTRY)
    return path / MEMORY


@contextlib.contextmanager
def saving(name: str, node: int, image_digest: str) -> Iterator[Path]:
    """The path to save a node's memory at; when the block ends without an error the entry is there.

    Half an entry is never seen, and nothing is left of it. Of two clusters that save the same node one is kept.
    """
    home = directory()
    home.mkdir(exist_ok=True)
    prune()
    pending = Path(tempfile.mkdtemp(prefix=_PENDING, dir=home))
    try:
        yield pending / MEMORY
        size, digest = measure(pending / MEMORY)
        about = {"key": name, "node": node, "image": image_digest, "bytes": size, "xxh3": digest}
        (pending / ENTRY).write_text(json.dumps(about) + "\n", encoding="utf-8")
        with contextlib.suppress(OSError):  # another cluster was quicker
            pending.rename(home / name)
    finally:
        shutil.rmtree(pending, ignore_errors=True)


def discard(name: str) -> None:
    """Remove an entry; fine if there is none."""
    shutil.rmtree(directory() / name, ignore_errors=True)


def entries() -> list[Entry]:
    """All that are whole, by node."""
    found = []
    for path in sorted(directory().glob("[0-9a-f]*")):
        try:
            about = json.loads((path / ENTRY).read_text(encoding="utf-8"))
            size, used = (path / MEMORY).stat().st_size, (path / ENTRY).stat().st_mtime
            found.append(Entry(path, int(about["node"]), str(about["image"]), size, used))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda entry: (entry.image, entry.node))


def prune(images: set[str] | None = None) -> list[Entry]:
    """Remove what nobody used for :data:`UNUSED_DAYS_MAX` days, and what is of other images than the last ones used.

    ``images``: the digests of all that there are; what has none of them goes, too. Returns what was removed. Also goes:
    what a bench that was killed left half.
    """
    oldest = time.time() - UNUSED_DAYS_MAX * 86_400
    there = entries()
    by_use = sorted(there, key=lambda one: one.used, reverse=True)
    kept = set(list(dict.fromkeys(one.image for one in by_use if images is None or one.image in images))[:IMAGES_MAX])
    old = [one for one in there if one.used < oldest or one.image not in kept]
    for one in old:
        shutil.rmtree(one.path, ignore_errors=True)
    for half in directory().glob(f"{_PENDING}*"):
        with contextlib.suppress(OSError):
            if half.stat().st_mtime < time.time() - 3600:
                shutil.rmtree(half, ignore_errors=True)
    return old
