"""tgt and libiscsi's headers out of Debian packages, unpacked in the cache.

Not installed: the installation of tgt starts a daemon on the host. Downloaded as the guest image's packages are, by
apt with directories of its own, as any user.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from hil.errors import LaboratoryError
from hil.paths import cache_dir
from images.apt import PrivateApt
from images.errors import BuildError
from images.unpack import unpack

REQUESTED = ("libiscsi-dev", "tgt")
_PROGRAMS = {"tgtd", "tgtadm"}
_OF_THE_HOST = ("libc6_", "libgcc-s1_")  # another C library than the host's loader belongs to would not start


def unpacked() -> Path:
    """A directory with ``bin``, ``lib`` and ``include``; made at the first call. Raises ``LaboratoryError``."""
    tree = cache_dir() / "benchmarks" / "debian"
    if not tree.exists():
        print(f"fetching {' and '.join(REQUESTED)} (Debian packages, unpacked in {tree})", file=sys.stderr, flush=True)
        try:
            _fill(tree)
        except BuildError as error:
            raise LaboratoryError(f"{' and '.join(REQUESTED)} could not be had: {error.detail}") from error
    return tree


def _fill(tree: Path) -> None:
    apt = PrivateApt(tree.parent / "apt")
    apt.prepare()
    apt.update()
    for old in apt.archives.glob("*.deb"):
        old.unlink()  # else a choice made before would be unpacked with the new one
    apt.download(REQUESTED, lambda: None)
    pending = Path(tempfile.mkdtemp(dir=tree.parent, prefix=".debian-"))
    try:
        for deb in sorted(apt.archives.glob("*.deb")):
            if not deb.name.startswith(_OF_THE_HOST):
                unpack(deb, pending, _place)
        pending.rename(tree)
    except BaseException:
        shutil.rmtree(pending, ignore_errors=True)
        raise


def _place(name: str) -> str | None:
    """Programs, headers and shared libraries, each kind in one directory, whatever the architecture's is called."""
    path = Path(name)
    if path.name in _PROGRAMS and path.parent.name == "sbin":
        return f"bin/{path.name}"
    if path.parts[:3] == ("usr", "include", "iscsi"):
        return f"include/iscsi/{path.name}"
    in_library_directory = path.parts[0] == "lib" or path.parts[:2] == ("usr", "lib")
    return f"lib/{path.name}" if in_library_directory and ".so." in path.name else None
