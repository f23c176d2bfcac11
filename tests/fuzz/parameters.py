"""Parameter lists: what a command's data says beside plain contents of blocks."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hil.scsi.extent import extent
from hil.scsi.mode_pages import CONTROL, PAGES, SWP, SWP_BYTE, block_descriptor, current_page
from hil.scsi.reservations import Type
from tests.fuzz.choices import POOL_BYTES_MAX, Choices
from tests.fuzz.commands import lba

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.scsi.reservations import Identity
    from hil.scsi.unit import LogicalUnit

    Cdb = bytes | bytearray
    MakeList = Callable[[Choices, LogicalUnit, Cdb, Identity | None], bytes]
    MakeContent = Callable[[Choices, LogicalUnit, bytes], bytes]

_TYPES: Final = (*Type, *Type, 0, 2, 0x15)
_KEYS: Final = (1, 2, 3, 1, 2, 0, 2**64 - 1)
_PERSISTENT_RESERVE_OUT: Final = 0x5F
_UNMAP: Final = 0x42
_COMPARE_AND_WRITE: Final = 0x89
_PAGE_FORMAT: Final = 0x10
_VERIFY: Final = (0x2F, 0xAF, 0x8F)
_WRITE_SAME: Final = (0x41, 0x93)


def draw(choices: Choices, unit: LogicalUnit, cdb: bytearray, sender: Identity | None) -> bytes | None:
    """The parameter list of a command that has one, for which its CDB is put right; else None."""
    row = _LISTS.get(cdb[0])
    if row is None:
        return None
    make, at, size = row
    data = make(choices, unit, cdb, sender)
    if choices.percent(5):
        data = data[: choices.below(len(data) + 1)]
    if not choices.percent(5):
        cdb[at : at + size] = (len(data) % 256**size).to_bytes(size, "big")
        if cdb[0] == _PERSISTENT_RESERVE_OUT:
            cdb[2] = choices.one_of(_TYPES)
        else:
            cdb[1] = 0 if cdb[0] == _UNMAP else _PAGE_FORMAT
    return data


def content(choices: Choices, unit: LogicalUnit, cdb: bytes, count: int) -> bytes:
    """``count`` bytes that go to blocks."""
    make = _CONTENTS.get(cdb[0]) if count and not choices.percent(20) else None
    data = make(choices, unit, cdb) if make else choices.content(min(count, POOL_BYTES_MAX))
    return data[:count].ljust(count, b"\0")


def _reservation(choices: Choices, unit: LogicalUnit, cdb: Cdb, sender: Identity | None) -> bytes:
    """Mostly the sender's own key, and one that another nexus has; else nothing but conflicts would come of it."""
    flags = choices.one_of((0, 0, 0, 0, 1, 1, 4, 8, 255))
    keys = unit.reservations.keys
    key = keys.get(sender, 0) if sender and choices.percent(80) else choices.one_of(_KEYS)
    held = sorted(keys.values())
    other = choices.one_of(held) if held and choices.percent(40) else choices.one_of(_KEYS)
    return struct.pack(">QQ4xBxxx", key, other, flags)


def _unmap(choices: Choices, unit: LogicalUnit, cdb: Cdb, sender: Identity | None) -> bytes:
    count = choices.one_of((0, 1, 1, 2, 3, 8, 256, 257))
    found = b""
    for _ in range(count):
        blocks = choices.one_of((0, 1, 7, 8, 64, 4096)) if not choices.percent(2) else choices.number(32)
        found += struct.pack(">QI4x", lba(choices, unit.blocks, blocks), blocks)
    length = len(found) if not choices.percent(5) else choices.number(16)
    return struct.pack(">HH4x", (6 + length) & 0xFFFF, length & 0xFFFF) + found


def _mode_6(choices: Choices, unit: LogicalUnit, cdb: Cdb, sender: Identity | None) -> bytes:
    descriptor = block_descriptor(unit, long_lba=False) if choices.percent(50) else b""
    return bytes((0, 0, 0, len(descriptor))) + descriptor + _pages(choices, unit)


def _mode_10(choices: Choices, unit: LogicalUnit, cdb: Cdb, sender: Identity | None) -> bytes:
    long_lba = choices.percent(50)
    descriptor = block_descriptor(unit, long_lba=long_lba) if choices.percent(50) else b""
    head = struct.pack(">HBBBBH", 0, 0, 0, int(long_lba), 0, len(descriptor))
    return head + descriptor + _pages(choices, unit)


def _pages(choices: Choices, unit: LogicalUnit) -> bytes:
    found = bytearray()
    for _ in range(choices.below(3)):
        code = choices.one_of(sorted(PAGES))
        page = bytearray(current_page(unit, code))
        if code == CONTROL and choices.percent(30):
            page[SWP_BYTE] ^= SWP
        if choices.percent(5):
            page[choices.below(len(page))] ^= 1 << choices.below(8)
        found += page
    return bytes(found)


def _compare(choices: Choices, unit: LogicalUnit, cdb: bytes) -> bytes:
    """What is there now, so that it is written too, and not only compared."""
    first, blocks = int.from_bytes(cdb[2:10], "big"), cdb[13]
    if first + blocks > unit.blocks:
        return b""
    return unit.medium.read(first, blocks) + choices.content(blocks * 512)


def _verify(choices: Choices, unit: LogicalUnit, cdb: bytes) -> bytes:
    first, blocks = extent(cdb)
    return b"" if first + blocks > unit.blocks or blocks > 2048 else unit.medium.read(first, blocks)


def _sparse(choices: Choices, unit: LogicalUnit, cdb: bytes) -> bytes:
    return bytes(512) if choices.percent(50) else choices.content(512)


# Operation code: what makes the list, and where in the CDB its length is.
_LISTS: Final[dict[int, tuple[MakeList, int, int]]] = {
    _PERSISTENT_RESERVE_OUT: (_reservation, 5, 4),
    _UNMAP: (_unmap, 7, 2),
    0x15: (_mode_6, 4, 1),
    0x55: (_mode_10, 7, 2),
}
_CONTENTS: Final[dict[int, MakeContent]] = {
    _COMPARE_AND_WRITE: _compare,
    **dict.fromkeys(_VERIFY, _verify),
    **dict.fromkeys(_WRITE_SAME, _sparse),
}
