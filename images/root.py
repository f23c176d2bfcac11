"""The root file system of an image: base, our own files and guestd, written as one read-only erofs.

Uncompressed: the disk is a file in the host's page cache, while decompression would run on an emulated processor.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from images import binding, bundle, bytecode, unpack
from images.base import Base
from images.commands import find_tool, run

STAGE = "root"
UUID = "68696c00-0000-4000-8000-000000000001"  # fixed: the same inputs give the same bytes
MOUNT_POINTS = ("dev", "hil", "mnt", "proc", "root", "run", "shared", "sys", "tmp", "var")
LINKS = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "usr/lib64/ld-linux-x86-64.so.2": "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "etc/mtab": "/proc/self/mounts",
    "root/.ssh": "/run/hil",  # the authorized keys come with the machine, not with the image
}
GUESTD_HOME = "usr/lib/hil"
GUESTD_FILE = f"{GUESTD_HOME}/guestd.pyc"  # what init starts
GUESTD = "guestd.runtime.main"
EVENT_MANAGER_FILE = f"{GUESTD_HOME}/event_manager.pyc"  # the same; only what that program imports is in it
EVENT_MANAGER = "guestd.runtime.event_manager.main"
# What of guestd is in its file only if guestd.runtime.main imports it: else it is read when a file system is mounted,
# and the start does not wait for it; or it is another program's.
IMPORTED_LATE = (
    *("guestd/runtime/fuse/", "guestd/runtime/mount.py", "guestd/sfs/answers.py", "guestd/sfs/requests.py"),
    *("guestd/runtime/event_manager/", "guestd/events/", "guestd/services/", "guestd/watchers/", "guestd/watcher.py"),
    *("guestd/client.py", "guestd/connection.py", "guestd/kept_locks.py", "guestd/locks.py", "guestd/guestctl"),
)


def source_files(directory: Path) -> dict[str, Path]:
    """Relative path -> file, sorted; bytecode and hidden files are none of the sources."""
    files = {}
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if path.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            files["/".join(parts)] = path
    return files


def assemble(base: Base, guest: Path, guestd: Path, tree: Path) -> None:
    """Make the directory ``tree`` from the base (hard links), the files under ``guest`` and the package ``guestd``."""
    shutil.copytree(base.tree, tree, symlinks=True, copy_function=link)
    for name, path in source_files(guest).items():
        permissions = 0o755 if name.startswith("usr/sbin/") else 0o644
        unpack.write_file(tree / name, path.read_bytes(), permissions)
    (tree / "etc/shadow").chmod(0o600)
    python = []
    for name, path in source_files(guestd).items():
        unpack.write_file(tree / GUESTD_HOME / "guestd" / name, path.read_bytes(), 0o644)
        if name.endswith(".py"):
            python.append(f"{GUESTD_HOME}/guestd/{name}")
    unpack.write_file(tree / GUESTD_HOME / binding.FILE, binding.content(), 0o644)
    bytecode.compile_files(base.tree, tree, [*python, f"{GUESTD_HOME}/{binding.FILE}"])
    names = bundled(path.removeprefix(f"{GUESTD_HOME}/") for path in python)
    bundle.write(base.tree, tree, GUESTD_HOME, GUESTD_FILE, GUESTD, names)
    bundle.write(base.tree, tree, GUESTD_HOME, EVENT_MANAGER_FILE, EVENT_MANAGER, [])
    for name in MOUNT_POINTS:
        (tree / name).mkdir(exist_ok=True)
    for name, target in LINKS.items():
        unpack.write_symlink(tree / name, target)
    unpack.set_directory_permissions(tree)


def bundled(paths: Iterable[str]) -> list[str]:
    """The names of the modules, of those at ``paths``, that are read when guestd starts."""
    return [module_name(path) for path in paths if not path.startswith(IMPORTED_LATE)]


def module_name(path: str) -> str:
    """The module whose source is ``path``: of ``a/b.py`` it is ``a.b``, of ``a/__init__.py`` ``a``."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def link(source: str, target: str) -> None:
    """A hard link; a copy where the file system has none."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def write_root(tree: Path, target: Path) -> None:
    """Write ``tree`` as erofs to ``target``: all files root's, one fixed time, no extended attributes."""
    tool = find_tool("mkfs.erofs", "erofs-utils", STAGE)
    argv = [tool, "--quiet", "-x-1", "-T0", f"-U{UUID}", "--all-root", str(target), str(tree)]
    run(STAGE, argv, remedy="`hil image build --force` tries again")
