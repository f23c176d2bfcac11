"""What an image is known by: one hash over everything that goes into it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from images import binding
from images.packages import Package
from images.root import source_files

HERE = Path(__file__).parent
GUEST_FILES = HERE / "guest"


def hash_parts(parts: Mapping[str, bytes]) -> str:
    """SHA-256 in hex over names and contents; lengths go in too, so that no two sets of parts look alike."""
    total = hashlib.sha256()
    for name in sorted(parts):
        total.update(f"{name}\0{len(parts[name])}\0".encode())
        total.update(parts[name])
    return total.hexdigest()


def package_parts(packages: Iterable[Package]) -> dict[str, bytes]:
    """The locked packages, as parts of a digest."""
    return {f"package/{package.name}": f"{package.version} {package.sha256}".encode() for package in packages}


def directory_parts(prefix: str, directory: Path) -> dict[str, bytes]:
    """The source files under ``directory``, as parts of a digest."""
    return {f"{prefix}/{name}": path.read_bytes() for name, path in source_files(directory).items()}


def base_digest(packages: Iterable[Package]) -> str:
    """Of the Debian part: the packages and the builder's own code."""
    code = {f"builder/{path.name}": path.read_bytes() for path in HERE.glob("*.py")}
    return hash_parts(package_parts(packages) | code)


def image_digest(base: str, guest: Path, guestd: Path) -> str:
    """Of a whole image: its base, the files of ours that go into a guest, the package guestd and what it needs."""
    parts = {"base": base.encode(), f"binding/{binding.FILE}": binding.content()}
    return hash_parts(parts | directory_parts("guest", guest) | directory_parts("guestd", guestd))
