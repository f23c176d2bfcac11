"""Kernel modules: who depends on whom, and in which order to load them.

A package brings no ``modules.dep`` (depmod writes it when the package is installed), so it is computed here from what
depmod reads too: the field ``depends`` in each module's ``.modinfo``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from images import elf
from images.errors import BuildError

STAGE = "kernel modules"

# First what guestd needs to answer: the root that it is in, and the port. The rest is loaded beside it, and the shared
# disk last: with the disk guestd can join, and a node that joins without its interconnect is one that fell silent.
FOR_GUESTD = ("virtio_pci", "virtio_blk", "erofs", "virtio_console")
FOR_THE_NETWORK = ("virtio_net", "pvpanic_mmio")
FOR_THE_MOUNT = ("fuse",)  # of the shared file system, which is mounted as soon as the node has joined
FOR_THE_NODE = ("virtio_scsi", "sd_mod", "sg", "virtio_rng")
GROUPS = (FOR_GUESTD, FOR_THE_NETWORK, FOR_THE_MOUNT, FOR_THE_NODE)  # in this order, by /init and /usr/sbin/init
# In the root's /lib/modules, loaded by whoever needs them (`modprobe sch_netem`).
ON_DEMAND = ("overlay", "pvpanic_pci", "sch_netem", "softdog")


def module_name(file: str) -> str:
    """The name the kernel knows a module by: of ``drivers/misc/pvpanic-mmio.ko`` it is ``pvpanic_mmio``."""
    return PurePosixPath(file).name.removesuffix(".ko").replace("-", "_")


def read_dependencies(module: bytes) -> list[str]:
    """The names of the modules whose symbols this one uses, as its ``.modinfo`` lists them."""
    depends = elf.module_info(module).get("depends", "")
    return [name.replace("-", "_") for name in depends.split(",") if name]


def load_order(wanted: Iterable[str], dependencies: Callable[[str], Iterable[str]]) -> list[str]:
    """``wanted`` and all they depend on, each after what it needs; else in the order asked for. No name twice.

    ``dependencies`` gives the direct ones of a name. A circle is an error: the kernel could not load it either.
    """
    order: list[str] = []
    open_names: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name in open_names:
            circle = " -> ".join([*open_names[open_names.index(name) :], name])
            raise BuildError(STAGE, f"modules need each other in a circle: {circle}", "choose another kernel package")
        open_names.append(name)
        for needed in dependencies(name):
            visit(needed)
        open_names.remove(name)
        order.append(name)

    for name in wanted:
        visit(name)
    return order


def select(files: Mapping[str, bytes], builtin: Iterable[str], wanted: Iterable[str]) -> dict[str, list[str]]:
    """Name -> direct dependencies, of the ``wanted`` modules and all they need, in load order.

    ``files``: path -> content of every module of the kernel; ``builtin``: paths of those compiled into it, which need
    no loading and are left out.
    """
    by_name = {module_name(path): path for path in files}
    inside = {module_name(path) for path in builtin}

    def dependencies(name: str) -> list[str]:
        if name not in by_name:
            raise BuildError(STAGE, f"the kernel package has no module {name}", "`hil image build --refresh`")
        return [needed for needed in read_dependencies(files[by_name[name]]) if needed not in inside]

    order = load_order([name for name in wanted if name not in inside], dependencies)
    return {name: dependencies(name) for name in order}


def modules_dep(dependencies: Mapping[str, Sequence[str]], elsewhere: Mapping[str, str] | None = None) -> str:
    """The text of ``modules.dep`` for modules that lie in one directory, but for those ``elsewhere`` (name -> where).

    A line has a module and all it needs, those that others need last: modprobe loads from the end of the line.
    """

    def file(name: str) -> str:
        directory = (elsewhere or {}).get(name)
        return f"{name}.ko" if directory is None else f"{directory}/{name}.ko"

    lines = []
    for name in dependencies:
        needed = load_order([name], dependencies.__getitem__)[:-1]
        lines.append(" ".join([f"{file(name)}:", *(file(other) for other in reversed(needed))]) + "\n")
    return "".join(lines)


def parse_modules_dep(text: str) -> dict[str, list[str]]:
    """Name -> all that the module needs, in load order; the inverse of ``modules_dep``."""
    split = [line.partition(":") for line in text.splitlines()]
    return {module_name(name): [module_name(needed) for needed in reversed(rest.split())] for name, _, rest in split}
