"""The base of an image: all that comes from Debian, cached by itself, so that a change of guestd costs seconds only.

A base is a directory: ``kernel`` (bzImage), ``vmlinux``, ``tree`` (the root without guestd and our own files) and
``base.json``: ``release`` of the kernel and ``groups``, the modules to load, in the order of ``images.modules``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from images import bytecode, elf, kernel, modules, selection, unpack
from images.commands import run
from images.errors import BuildError

Progress = Callable[[str, int, int], None]

STAGE = "base"
LIBRARIES = bytecode.LIBRARIES
# Nothing in the tree is linked with the last two: one is loaded when a thread is cancelled, the other by guestd.
KEPT_LIBRARIES = ("ld-linux-x86-64.so.2", "libgcc_s.so.1", "libfuse3.so.3")
NOT_APPLETS = frozenset({"busybox", "dpkg", "dpkg-deb", "init", "linuxrc", "login", "rpm", "run-init", "su", "udhcpc"})


@dataclass(frozen=True)
class Base:
    """A finished base directory."""

    path: Path
    release: str
    groups: tuple[tuple[str, ...], ...]

    @property
    def tree(self) -> Path:
        """The root file system, without guestd and our own files."""
        return self.path / "tree"

    @property
    def modules(self) -> Path:
        """The directory with ``modules.dep`` and the modules it names."""
        return self.tree / "usr/lib/modules" / self.release


def open_base(path: Path) -> Base | None:
    """The base at ``path``, if one was built there."""
    try:
        facts = json.loads((path / "base.json").read_text())
    except FileNotFoundError:
        return None
    return Base(path, facts["release"], tuple(tuple(group) for group in facts["groups"]))


def build_base(debs: dict[str, Path], path: Path, progress: Progress) -> Base:
    """Build a base in the empty directory ``path`` from the packages ``debs`` (name -> file)."""
    tree = path / "tree"
    tree.mkdir()
    wanted = {name: deb for name, deb in debs.items() if selection.is_unpacked(name)}
    kernel_files: dict[str, bytes] = {}
    for done, (name, deb) in enumerate(sorted(wanted.items())):
        progress("unpack", done, len(wanted))
        if name.startswith("linux-image-"):
            kernel_files = read_kernel(deb)
        else:
            unpack.unpack(deb, tree, place)
    progress("unpack", len(wanted), len(wanted))

    progress("kernel", 0, 1)
    release, groups = add_kernel(kernel_files, path, tree)
    progress("kernel", 1, 1)
    add_applets(tree)
    remove_unused_libraries(tree)
    progress("python", 0, 1)
    names = [str(file.relative_to(tree)) for file in (tree / "usr/lib/python3.11").rglob("*.py")]
    bytecode.compile_files(tree, tree, names)
    progress("python", 1, 1)
    (path / "base.json").write_text(json.dumps({"release": release, "groups": groups}))
    return Base(path, release, groups)


def place(name: str) -> str | None:
    """Where a file of a package goes in the tree; None: not into the guest."""
    path = selection.merged_path(name)
    return path if selection.is_wanted(path) else None


def read_kernel(deb: Path) -> dict[str, bytes]:
    """Path -> content of the files of a kernel package that the builder looks at."""
    files = {}
    with unpack.read_archive(deb) as archive:
        for member in archive:
            path = selection.merged_path(member.name)
            if member.isreg() and path.startswith(("boot/vmlinuz-", "usr/lib/modules/")):
                content = archive.extractfile(member)
                assert content is not None
                files[path] = content.read()
    return files


def add_kernel(files: dict[str, bytes], path: Path, tree: Path) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """Write both forms of the kernel and the modules; the release and the modules to load, in groups."""
    images = [name for name in files if name.startswith("boot/vmlinuz-")]
    if len(images) != 1:
        raise BuildError("kernel", f"the kernel package has {len(images)} kernels", "`hil image build --refresh`")
    release = images[0].removeprefix("boot/vmlinuz-")
    (path / "kernel").write_bytes(files[images[0]])
    (path / "vmlinux").write_bytes(kernel.extract_vmlinux(files[images[0]]))

    home = f"usr/lib/modules/{release}"
    builtin = files[f"{home}/modules.builtin"].decode().split()
    loadable = {name: content for name, content in files.items() if name.endswith(".ko")}
    by_name = {modules.module_name(name): content for name, content in loadable.items()}
    wanted = [name for group in modules.GROUPS for name in group]
    dependencies = modules.select(loadable, builtin, [*wanted, *modules.ON_DEMAND])
    for name in dependencies:
        unpack.write_file(tree / home / f"{name}.ko", by_name[name], 0o644)
    dep = modules.modules_dep(dependencies)
    unpack.write_file(tree / home / "modules.dep", dep.encode(), 0o644)
    for empty in ("modules.alias", "modules.symbols"):
        unpack.write_file(tree / home / empty, b"", 0o644)
    in_groups = [tuple(name for name in group if name in dependencies) for group in modules.GROUPS]
    return release, tuple(in_groups)


def add_applets(tree: Path) -> None:
    """Links for busybox' applets where no package brought the real program."""
    busybox = tree / "usr/bin/busybox"
    listing = run(STAGE, [str(busybox), "--list-full"], remedy="`hil image build --refresh`").split()
    present = {path.name for place in ("bin", "sbin") for path in (tree / "usr" / place).iterdir()}
    for name in listing:
        where = tree / selection.merged_path(name)
        if where.name not in present | NOT_APPLETS:
            unpack.write_symlink(where, "/usr/bin/busybox")
    unpack.write_symlink(tree / "usr/bin/python3", "python3.11")


def remove_unused_libraries(tree: Path) -> None:
    """Drop the shared libraries that nothing in the tree asks for; a ``BuildError`` if one asked for is missing."""
    home = tree / LIBRARIES
    present = {path.name: path for path in home.iterdir() if ".so" in path.name}
    reached: set[str] = set()

    def reach(name: str, asked_by: str) -> None:
        if name in reached:
            return
        if name not in present:
            raise BuildError(STAGE, f"{asked_by} needs the library {name}, which no package brought", "report this")
        reached.add(name)
        target = present[name].resolve()
        reached.add(target.name)
        for needed in elf.needed_libraries(target.read_bytes()):
            reach(needed, name)

    for name in KEPT_LIBRARIES:
        reach(name, "the guest")
    for path in sorted(tree.rglob("*")):
        if path.parent == home or path.is_symlink() or not path.is_file() or path.suffix == ".ko":
            continue
        with path.open("rb") as file:
            if not elf.is_elf(file.read(8)):
                continue
        for needed in elf.needed_libraries(path.read_bytes()):
            reach(needed, path.name)
    for name, path in present.items():
        if name not in reached:
            path.unlink()
