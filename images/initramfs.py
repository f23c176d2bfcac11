"""The initramfs: busybox, the modules to load, /init. A megabyte or three: every one costs 50 ms under emulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from images import cpio

ROOT = "/new"  # where /init mounts the root
DIRECTORIES = ("bin", "dev", "hil", "lib", "lib/modules", "new", "proc", "sys")


def module_file(name: str) -> str:
    """Where a module is in the initramfs, relative to its module directory."""
    return f"{name}.ko"


def pack(
    *,
    init: bytes,
    mounts: Sequence[bytes],
    busybox: bytes,
    release: str,
    modules: Mapping[str, bytes],
    modules_dep: str,
    groups: Sequence[Sequence[str]],
) -> bytes:
    """The archive. ``modules``: name -> content, of those that ``modules_dep`` names without a path.

    ``groups``: names to load, one group after the other.

    The groups go into ``/modules.0``, ``/modules.1``: one ``modprobe -a`` each, so one process
    instead of one per module. Likewise ``mounts``: tables of file systems, one ``mount -a`` each. ``/run`` is the
    root's.
    """
    home = f"lib/modules/{release}"
    entries = [cpio.directory(name) for name in (*DIRECTORIES, home)]
    entries += [
        cpio.character_device("dev/console", 5, 1),
        cpio.regular("init", init, 0o755),
        cpio.regular("bin/busybox", busybox, 0o755),
        cpio.symlink("bin/sh", "busybox"),
        cpio.symlink("run", "new/run"),
        cpio.regular(f"{home}/modules.dep", modules_dep.encode()),
    ]
    entries += [cpio.regular(f"modules.{i}", (" ".join(group) + "\n").encode()) for i, group in enumerate(groups)]
    entries += [cpio.regular(f"mounts.{i}", table) for i, table in enumerate(mounts)]
    entries += [cpio.regular(f"{home}/{module_file(name)}", content) for name, content in modules.items()]
    return cpio.pack(entries)
