"""Builds images, one at a time per cache, each into a temporary directory that is renamed when it is complete.

::

    packages/lock.json, packages/apt/      the choice of packages, and their files
    packages/base-<digest12>/              what comes from Debian, unpacked and compiled
    images/<digest12>/                     kernel, vmlinux, initrd.cpio, root.erofs, manifest.json
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from images import base as base_module
from images import digest, initramfs, modules, root
from images.base import Base
from images.errors import BuildError, from_os_error
from images.image import FILES, MANIFEST, Image, cache_directory, open_image
from images.packages import Package, PackageStore, Progress, hash_file

GUESTD = Path(__file__).parent.parent / "guestd"
STAGES = ("package lists", "download", "unpack", "kernel", "python", "initramfs", "root")
BUILD_BYTES = 500 << 20  # lists and packages 100 MB, the unpacked base 200 MB, the image 113 MB, and some slack
UNUSED_DAYS_MAX = 14  # an image or base nobody asked for in that time is removed by the next build


def silent(stage: str, done: int, total: int) -> None:
    """The progress display of those who want none."""


class Builder:
    """Builds and finds images in one cache, with one version of guestd."""

    def __init__(self, cache: Path, guestd: Path, progress: Progress) -> None:
        self.images = cache / "images"
        self.packages = cache / "packages"
        self.store = PackageStore(self.packages)
        self.guestd = guestd
        self.progress = progress

    def find(self) -> Image | None:
        """The image for the present inputs, if the cache has it."""
        locked = self.store.read_lock()
        if locked is None:
            return None
        name = digest.image_digest(digest.base_digest(locked), digest.GUEST_FILES, self.guestd)
        return self.open(name)

    def open(self, name: str) -> Image | None:
        """The image ``name``, if the cache has it; notes that somebody asked for it."""
        image = open_image(self.images / name[:12])
        if image is not None:
            with contextlib.suppress(PermissionError):
                os.utime(image.path)
        return image

    def build(self, *, force: bool, refresh: bool) -> Image:
        """Build the image for the present inputs, unless it is there and not ``force``. Call with the lock held."""
        locked = None if refresh else self.store.read_lock()
        if locked is None:
            self.check_room("package lists")  # apt-get on a full disk may hang for ever
            locked = self.store.resolve(self.progress)
        base_name = digest.base_digest(locked)
        name = digest.image_digest(base_name, digest.GUEST_FILES, self.guestd)
        image = self.open(name)
        if image is not None and not force:
            return image
        base = self.ensure_base(locked, self.packages / f"base-{base_name[:12]}", force)
        with replacing(self.images / name[:12]) as directory:
            self.write_image(base, locked, name, directory)
        self.remove_unused()
        image = self.open(name)
        assert image is not None, f"image {name[:12]} was just written"
        return image

    def check_room(self, stage: str) -> None:
        """Raise ``BuildError`` unless there is room for a whole build."""
        free = shutil.disk_usage(self.packages.parent).free
        if free < BUILD_BYTES:
            detail = f"{free >> 20} MiB free in {self.packages.parent}, a build takes {BUILD_BYTES >> 20} MiB"
            raise BuildError(
                stage, detail, "free some space, or set XDG_CACHE_HOME to a roomier place; then `hil image build`"
            )

    def ensure_base(self, locked: list[Package], path: Path, force: bool) -> Base:
        """The base for the locked packages, built if need be."""
        base = base_module.open_base(path)
        if base is None or force:
            self.store.fetch(locked, self.progress)
            debs = {package.name: self.store.path(package) for package in locked}
            with replacing(path) as directory:
                base_module.build_base(debs, directory, self.progress)
            base = base_module.open_base(path)
            assert base is not None, f"{path} was just written"
        os.utime(path)
        return base

    def write_image(self, base: Base, locked: list[Package], name: str, directory: Path) -> None:
        """Write all files of the image ``name`` into ``directory``."""
        for file in ("kernel", "vmlinux"):
            root.link(str(base.path / file), str(directory / file))
        self.progress("initramfs", 0, 1)
        (directory / "initrd.cpio").write_bytes(pack_initramfs(base))
        self.progress("initramfs", 1, 1)
        self.progress("root", 0, 1)
        with tempfile.TemporaryDirectory(prefix=".root-", dir=self.packages) as scratch:
            tree = Path(scratch) / "tree"
            root.assemble(base, digest.GUEST_FILES / "root", self.guestd, tree)
            root.write_root(tree, directory / "root.erofs")
        self.progress("root", 1, 1)
        manifest = {
            "digest": name,
            "release": base.release,
            "packages": {package.name: package.version for package in locked},
            "files": {file: describe(directory / file) for file in FILES},
        }
        (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")

    def remove_unused(self) -> None:
        """Remove images and bases that nobody asked for in the last days, and what broken-off builds have left."""
        oldest = time.time() - UNUSED_DAYS_MAX * 86400
        for path in [*self.images.iterdir(), *self.packages.glob("base-*"), *self.packages.glob(".*")]:
            # The lock is held: what is temporary now belongs to a build that no longer runs.
            if path.is_dir() and (path.name.startswith(".") or path.stat().st_mtime < oldest):
                shutil.rmtree(path, ignore_errors=True)


def pack_initramfs(base: Base) -> bytes:
    """The initramfs for a base: busybox, /init, and the modules of the first group with what they need.

    The other groups are loaded from the root, which has all: the kernel unpacks each megabyte before /init begins.
    """
    needed = modules.parse_modules_dep((base.modules / "modules.dep").read_text())
    all_in_order = modules.load_order([name for group in base.groups for name in group], needed.__getitem__)
    here = modules.load_order(base.groups[0], needed.__getitem__)
    home = f"{initramfs.ROOT}/{base.modules.relative_to(base.tree)}"
    return initramfs.pack(
        init=(digest.GUEST_FILES / "init").read_bytes(),
        mounts=[path.read_bytes() for path in sorted(digest.GUEST_FILES.glob("mounts.*"))],
        busybox=(base.tree / "usr/bin/busybox").read_bytes(),
        release=base.release,
        modules={name: (base.modules / f"{name}.ko").read_bytes() for name in here},
        modules_dep=modules.modules_dep(
            {name: needed[name] for name in all_in_order},
            elsewhere={name: home for name in all_in_order if name not in here},
        ),
        groups=base.groups,
    )


def describe(path: Path) -> dict[str, int | str]:
    """Size in bytes and SHA-256 of a file, for the manifest."""
    return {"size": path.stat().st_size, "sha256": hash_file(path)}


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary directory beside ``target`` that takes its place when the block ends well, in one rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=target.parent) as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)


@contextlib.contextmanager
def locked(cache: Path, progress: Progress) -> Iterator[None]:
    """The cache for oneself: a second build waits for the first, whose result it then finds. Freed by the kernel."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "images.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build", 0, 1)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(
    *,
    force: bool = False,
    refresh: bool = False,
    progress: Progress | None = None,
    guestd: Path | None = None,
    cache: Path | None = None,
) -> Image:
    """Build the image for the present inputs and return it; an existing one is returned as it is.

    ``force`` builds it again all the same; ``refresh`` lets apt choose package versions anew. ``progress(stage, done,
    total)`` is called as the work goes on (stages: ``STAGES``). ``guestd`` is the directory of the package to put in
    (default: the tree's), ``cache`` the directory to work in (default: ``$XDG_CACHE_HOME/hil``). Raises ``BuildError``.
    """
    builder = Builder(cache or cache_directory(), guestd or GUESTD, progress or silent)
    stage = ["cache"]

    def note(name: str, done: int, total: int) -> None:
        stage[0] = name
        builder_progress(name, done, total)

    builder_progress, builder.progress = builder.progress, note
    if not builder.guestd.is_dir():
        raise BuildError("root", f"no guestd in {builder.guestd}", "use a complete checkout")
    try:
        with locked(cache or cache_directory(), note):
            return builder.build(force=force, refresh=refresh)
    except OSError as error:
        raise from_os_error(stage[0], error) from error


def ensure(progress: Progress | None = None, *, guestd: Path | None = None, cache: Path | None = None) -> Image:
    """The image for the present inputs: from the cache (some 20 ms), or built. Arguments and errors: see ``build``."""
    found = Builder(cache or cache_directory(), guestd or GUESTD, silent).find()
    return found or build(progress=progress, guestd=guestd, cache=cache)
