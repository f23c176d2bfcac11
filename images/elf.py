"""Reads the two things the builder wants to know of an ELF64 file: its libraries and its ``.modinfo``."""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = b"\x7fELF\x02\x01"
SECTION_DYNAMIC = 6
TAG_NEEDED = 1


class Section(NamedTuple):
    """One section header: its kind, the index of the section it links to, and its bytes."""

    name: str
    kind: int
    link: int
    content: bytes


def is_elf(data: bytes) -> bool:
    """Whether ``data`` starts like a little-endian 64-bit ELF file."""
    return data.startswith(MAGIC)


def text_at(table: bytes, offset: int) -> str:
    """The NUL-terminated string at ``offset`` of a string table."""
    return table[offset : table.index(b"\0", offset)].decode()


def read_sections(data: bytes) -> list[Section]:
    """All sections, in the order of the section header table (none for a file without one)."""
    (table,) = struct.unpack_from("<Q", data, 0x28)
    entry_size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    raw = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * entry_size) for i in range(count)]
    names = data[raw[names_index][4] :][: raw[names_index][5]] if raw else b""
    return [
        Section(text_at(names, h[0]), h[1], h[6], b"" if h[1] == 8 else data[h[4] : h[4] + h[5]])  # 8: no bits
        for h in raw
    ]


def needed_libraries(data: bytes) -> list[str]:
    """The sonames (``DT_NEEDED``) that the dynamic loader must find, in order."""
    sections = read_sections(data)
    names: list[str] = []
    for section in sections:
        if section.kind == SECTION_DYNAMIC:
            strings = sections[section.link].content
            pairs = struct.iter_unpack("<QQ", section.content)
            names += [text_at(strings, value) for tag, value in pairs if tag == TAG_NEEDED]
    return names


def module_info(data: bytes) -> dict[str, str]:
    """The ``key=value`` pairs of a kernel module's ``.modinfo`` (the first value of a repeated key)."""
    info: dict[str, str] = {}
    for section in read_sections(data):
        if section.name == ".modinfo":
            for item in section.content.split(b"\0"):
                key, equals, value = item.decode(errors="replace").partition("=")
                if equals:
                    info.setdefault(key, value)
    return info
