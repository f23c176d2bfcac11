"""The initramfs archive: bytes as the kernel's buffer-format document has them."""

from __future__ import annotations

import stat

from images import cpio, initramfs


def unpack(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Name -> (mode, content): a reader written from the format document, not from the writer."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = numbers[6], numbers[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        assert archive[at + 110 + name_size - 1] == 0
        at = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (numbers[1], archive[at : at + size])
        at = (at + size + 3) & ~3


def test_what_is_packed_is_what_is_read() -> None:
    entries = [
        cpio.directory("bin"),
        cpio.regular("bin/tool", b"12345", 0o755),
        cpio.symlink("bin/sh", "tool"),
        cpio.regular("empty", b""),
    ]
    assert unpack(cpio.pack(entries)) == {
        "bin": (stat.S_IFDIR | 0o755, b""),
        "bin/tool": (stat.S_IFREG | 0o755, b"12345"),
        "bin/sh": (stat.S_IFLNK | 0o777, b"tool"),
        "empty": (stat.S_IFREG | 0o644, b""),
    }


def test_a_header_is_110_bytes_and_all_is_padded_to_four() -> None:
    packed = cpio.pack_entry(cpio.regular("ab", b"x"), inode=7, links=1)
    assert packed[:14] == b"07070100000007"
    assert packed[110:113] == b"ab\0"
    assert packed[116:] == b"x\0\0\0"  # name padded to 116, content to 120


def test_a_device_node_carries_its_numbers() -> None:
    packed = cpio.pack_entry(cpio.character_device("dev/console", 5, 1), inode=1, links=1)
    numbers = [int(packed[6 + 8 * i : 14 + 8 * i], 16) for i in range(13)]
    assert numbers[1] == stat.S_IFCHR | 0o600
    assert numbers[9:11] == [5, 1]


def test_archives_end_on_512_so_that_another_can_follow() -> None:
    for size in (0, 1, 300, 511, 512):
        assert len(cpio.pack([cpio.regular("a", bytes(size))])) % 512 == 0


def test_the_initramfs_has_directories_before_what_is_in_them() -> None:
    archive = initramfs.pack(
        init=b"#!",
        mounts=(b"proc /proc proc\n", b"/dev/vda /new erofs ro\n"),
        busybox=b"\x7fELF",
        release="6.1.0-1",
        modules={"virtio": b"v", "erofs": b"e"},
        modules_dep="virtio.ko:\nerofs.ko:\n",
        groups=(("erofs",), ("virtio", "sg")),
    )
    files = unpack(archive)
    for index, name in enumerate(files):
        parent = name.rpartition("/")[0]
        assert not parent or parent in list(files)[:index], name
    assert files["init"] == (stat.S_IFREG | 0o755, b"#!")
    assert files["mounts.1"][1] == b"/dev/vda /new erofs ro\n"
    assert files["run"] == (stat.S_IFLNK | 0o777, b"new/run")
    assert files["modules.1"][1] == b"virtio sg\n"
    assert files["lib/modules/6.1.0-1/erofs.ko"][1] == b"e"
