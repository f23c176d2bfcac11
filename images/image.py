"""A finished image: a directory of the cache, named by the hash of what it was built from."""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILES = ("kernel", "vmlinux", "initrd.cpio", "root.erofs")
MANIFEST = "manifest.json"


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/hil`` (``~/.cache/hil``)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # XDG Base Directory Specification: a relative path is invalid and to be ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "hil"


@dataclass(frozen=True)
class Image:
    """What the bench boots. ``size`` is that of all files, in bytes; ``created`` the time of the build.

    ``manifest``: ``digest`` (64 hex), ``release`` (of the kernel), ``packages`` (name -> version), ``files`` (name ->
    size in bytes and SHA-256).
    """

    path: Path
    digest: str
    size: int
    created: datetime.datetime
    manifest: dict[str, Any] = field(repr=False)

    @property
    def kernel(self) -> Path:
        """The kernel as bzImage."""
        return self.path / "kernel"

    @property
    def vmlinux(self) -> Path:
        """The same kernel as ELF: QEMU starts it through PVH, a second faster under emulation."""
        return self.path / "vmlinux"

    @property
    def initrd(self) -> Path:
        """The initramfs (cpio, a multiple of 512 bytes long); the bench appends a second archive with ``/hil``."""
        return self.path / "initrd.cpio"

    @property
    def root(self) -> Path:
        """The root file system (erofs, read-only), shared by all nodes as virtio-blk disk."""
        return self.path / "root.erofs"


def open_image(path: Path) -> Image | None:
    """The image in the directory ``path``; None if there is none, or not a whole one."""
    try:
        text = (path / MANIFEST).read_text()
        created = (path / MANIFEST).stat().st_mtime
        size = sum((path / name).stat().st_size for name in FILES)
        manifest = json.loads(text)
        digest = manifest["digest"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return None
    return Image(path, digest, size, datetime.datetime.fromtimestamp(created, datetime.UTC), manifest)


def list_images(cache: Path | None = None) -> list[Image]:
    """All images of the cache (default: the user's), newest first."""
    home = (cache or cache_directory()) / "images"
    found = [open_image(path) for path in sorted(home.glob("[0-9a-f]*"))] if home.is_dir() else []
    return sorted((image for image in found if image), key=lambda image: image.created, reverse=True)
