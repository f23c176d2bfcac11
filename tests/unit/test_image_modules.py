"""Kernel modules: dependencies from .modinfo, load order, modules.dep."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from images import base, elf, modules
from images.digest import GUEST_FILES
from images.errors import BuildError


def make_elf(sections: list[tuple[str, int, int, bytes]]) -> bytes:
    """An ELF64 file with sections (name, kind, link, content); the string table of the names is put last."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _, _, _ in sections) + b".shstrtab\0"
    parts = [*sections, (".shstrtab", 3, 0, names)]
    body, headers, at = b"", b"", 64
    for name, kind, link, content in parts:
        offset = names.index(name.encode() + b"\0")
        headers += struct.pack("<IIQQQQIIQQ", offset, kind, 0, 0, at, len(content), link, 0, 1, 0)
        body += content
        at += len(content)
    head = (
        elf.MAGIC
        + bytes(10)
        + struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, at, 0, 64, 0, 0, 64, len(parts), len(parts) - 1)
    )
    return head + body + headers


def make_module(depends: str) -> bytes:
    return make_elf([(".modinfo", 1, 0, b"license=GPL\0depends=" + depends.encode() + b"\0name=x\0")])


FILES = {
    "kernel/drivers/virtio/virtio.ko": make_module("virtio_ring"),
    "kernel/drivers/virtio/virtio_ring.ko": make_module(""),
    "kernel/drivers/misc/pvpanic-mmio.ko": make_module("pvpanic"),
    "kernel/drivers/misc/pvpanic.ko": make_module(""),
    "kernel/drivers/virtio_rng.ko": make_module("virtio_ring,rng-core,virtio"),
    "kernel/unrelated.ko": make_module("virtio"),
}
BUILTIN = ["kernel/drivers/char/hw_random/rng-core.ko"]


def test_a_library_that_is_needed_is_named_by_the_dynamic_section() -> None:
    dynamic = struct.pack("<6Q", 1, 1, 5, 99, 1, 11)  # NEEDED "libc.so.6", something else, NEEDED "libz.so"
    data = make_elf([(".dynstr", 3, 0, b"\0libc.so.6\0libz.so\0"), (".dynamic", 6, 0, dynamic)])
    assert elf.needed_libraries(data) == ["libc.so.6", "libz.so"]


def test_a_library_stays_that_something_needs_or_that_guestd_loads_by_its_name(tmp_path: Path) -> None:
    def library(*needed: str) -> bytes:
        names = b"\0" + b"".join(name.encode() + b"\0" for name in needed)
        entries = [entry for name in needed for entry in (1, names.index(name.encode() + b"\0"))]
        return make_elf([(".dynstr", 3, 0, names), (".dynamic", 6, 0, struct.pack(f"<{len(entries)}Q", *entries))])

    home = tmp_path / base.LIBRARIES
    home.mkdir(parents=True)
    for name in ("ld-linux-x86-64.so.2", "libgcc_s.so.1", "libc.so.6", "libz.so.1", "libsilent.so.1"):
        (home / name).write_bytes(library())
    (home / "libfuse3.so.3.14.0").write_bytes(library("libc.so.6"))
    (home / "libfuse3.so.3").symlink_to("libfuse3.so.3.14.0")
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/program").write_bytes(library("libz.so.1"))
    base.remove_unused_libraries(tmp_path)
    assert sorted(path.name for path in home.iterdir()) == [
        "ld-linux-x86-64.so.2",
        "libc.so.6",
        "libfuse3.so.3",
        "libfuse3.so.3.14.0",
        "libgcc_s.so.1",
        "libz.so.1",
    ]


def test_a_module_comes_after_all_it_needs_and_no_module_twice() -> None:
    chosen = modules.select(FILES, BUILTIN, ["virtio_rng", "pvpanic_mmio", "virtio"])
    assert list(chosen) == ["virtio_ring", "virtio", "virtio_rng", "pvpanic", "pvpanic_mmio"]


def test_what_is_compiled_into_the_kernel_is_not_loaded() -> None:
    assert modules.select(FILES, BUILTIN, ["rng_core", "virtio_ring"]) == {"virtio_ring": []}


def test_a_module_the_kernel_lacks_is_named() -> None:
    with pytest.raises(BuildError, match="no module virtio_scsi"):
        modules.select(FILES, BUILTIN, ["virtio_scsi"])


def test_a_circle_is_shown_instead_of_followed() -> None:
    circle = {"a": ["b"], "b": ["c"], "c": ["b"]}
    with pytest.raises(BuildError, match="b -> c -> b"):
        modules.load_order(["a"], circle.__getitem__)


def test_every_group_of_modules_is_loaded_by_a_script_of_the_guest() -> None:
    text = "".join((GUEST_FILES / name).read_text() for name in ("init", "root/usr/sbin/init"))
    loaded = re.findall(r"^read -r names </modules\.(\d)|^load /modules\.(\d)", text, re.MULTILINE)
    assert [first or later for first, later in loaded] == [str(index) for index in range(len(modules.GROUPS))]


def test_modules_dep_lists_all_that_a_module_needs_the_first_to_load_last() -> None:
    text = modules.modules_dep(modules.select(FILES, BUILTIN, ["virtio_rng"]))
    assert text == (
        "virtio_ring.ko:\n"
        "virtio.ko: virtio_ring.ko\n"
        "virtio_rng.ko: virtio.ko virtio_ring.ko\n"
    )  # fmt: skip
    assert modules.parse_modules_dep(text)["virtio_rng"] == ["virtio_ring", "virtio"]


def test_modules_dep_says_where_those_are_that_lie_elsewhere() -> None:
    text = modules.modules_dep({"virtio": [], "sg": ["virtio"]}, elsewhere={"sg": "/new/lib"})
    assert text == "virtio.ko:\n/new/lib/sg.ko: virtio.ko\n"
    assert modules.parse_modules_dep(text)["sg"] == ["virtio"]


def test_nothing_that_a_node_needs_once_it_has_joined_is_loaded_after_the_shared_disk() -> None:  # S7.3
    assert "virtio_scsi" in modules.GROUPS[-1]
    assert [group for group in modules.GROUPS[:-1] if "fuse" in group]
