"""Writes cpio archives in the "newc" form that the kernel unpacks as initramfs.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of Linux. Numbers count up from 1, the owner is
root, the time 0: the bytes depend on nothing but names, modes and contents. Archives may be concatenated.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file: ``name`` without leading slash, ``mode`` with its type bits, ``content`` (a link's: its target)."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str, permissions: int = 0o755) -> Entry:
    """A directory."""
    return Entry(name, stat.S_IFDIR | permissions)


def regular(name: str, content: bytes, permissions: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(name, stat.S_IFREG | permissions, content)


def symlink(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """A device node; writing one into an archive needs no privilege."""
    return Entry(name, stat.S_IFCHR | permissions, device=(major, minor))


def pack_entry(entry: Entry, inode: int, links: int) -> bytes:
    """Header, name and content, each padded to four bytes."""
    name = entry.name.encode() + b"\0"
    major, minor = entry.device
    numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, major, minor, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name
    return head + bytes(-len(head) % 4) + entry.content + bytes(-len(entry.content) % 4)


def pack(entries: Iterable[Entry]) -> bytes:
    """The archive, in the order given: a directory must come before what is in it. Its size is a multiple of 512."""
    parts = [pack_entry(entry, inode, 2 if stat.S_ISDIR(entry.mode) else 1) for inode, entry in enumerate(entries, 1)]
    parts.append(pack_entry(Entry(TRAILER, 0), 0, 1))
    archive = b"".join(parts)
    return archive + bytes(-len(archive) % 512)
