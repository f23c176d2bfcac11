"""Command descriptor blocks: every operation code that the target has, and others, with fields at their boundaries."""

from __future__ import annotations

from typing import Final, NamedTuple

from hil.scsi import inquiry, mode_pages
from hil.scsi.operation import Operation
from hil.scsi.operations import OPERATIONS
from tests.fuzz.choices import Choices

CDB_BYTES: Final = 16
_BLOCK: Final = 512

# Where a CDB has its LBA and its number of blocks, by group code: first byte and count of bytes of each.
_LAYOUTS: Final = {
    0: ((1, 3), (4, 1)),
    1: ((2, 4), (7, 2)),
    2: ((2, 4), (7, 2)),
    4: ((2, 8), (10, 4)),
    5: ((2, 4), (6, 4)),
}
# LBA, and number of blocks in one byte (COMPARE AND WRITE) or in two behind a boundary (WRITE ATOMIC).
_LAYOUTS_BY_CODE: Final = {0x89: ((2, 8), (13, 1)), 0x9C: ((2, 8), (12, 2))}

READS: Final = (0x08, 0x28, 0x88, 0xA8)
_EXTENTS: Final = (
    *READS,
    *(0x0A, 0x2A, 0x8A, 0xAA, 0x2E, 0x8E, 0xAE, 0x2F, 0x8F, 0xAF, 0x89, 0x8B, 0x9C, 0x41, 0x93, 0x34, 0x90, 0x35, 0x91),
)
_OFTEN: Final = (0x28, 0x88, 0x2A, 0x8A, 0x2A, 0x8A, 0x5F, 0x42)
_CODES: Final = (*sorted(OPERATIONS), *_EXTENTS, *_OFTEN)
_SERVICE_ACTION_IN: Final = 0x9E
_INQUIRY: Final = 0x12
_MODE_PAGES: Final = (*mode_pages.PAGES, 0x3F)
# Where a command says which page it wants, and which there are.
_CODE_OF_PAGE: Final = {
    _INQUIRY: (2, (*inquiry.PAGES, 0)),
    0x1A: (2, _MODE_PAGES),
    0x5A: (2, _MODE_PAGES),
}
_BLOCKS: Final = (1, 1, 1, 1, 2, 2, 3, 7, 8, 8, 16, 64, 127, 128, 255, 256, 0, 512, 2048, 2049, 32768, 32769)


class Drawn(NamedTuple):
    """A CDB, to be changed still, and what its initiator may think that it moves: bytes to it."""

    cdb: bytearray
    data_in_bytes: int


def draw(choices: Choices, unit_blocks: int, code: int | None = None) -> Drawn:
    """A command with this operation code, or any, for a unit of about this size."""
    if code is None:
        code = choices.below(256) if choices.percent(3) else choices.one_of(_CODES)
    operation = OPERATIONS.get(code)
    cdb = bytearray(choices.octets(CDB_BYTES) if operation is None else _used(choices, code, operation))
    blocks = 0
    if code in _EXTENTS and not choices.percent(3):
        blocks = _extent(choices, cdb, code, unit_blocks)
        if code >= 0x20:
            cdb[1] = choices.below(256) if choices.percent(5) else choices.one_of((0, 0, 0, 0x08, 0x10, 0x02, 0x06))
    elif code == _SERVICE_ACTION_IN:
        cdb[2:10] = lba(choices, unit_blocks, 1).to_bytes(8, "big")
        cdb[10:14] = choices.one_of((0, 8, 24, 32, 4096, 2**20)).to_bytes(4, "big")
    elif code in _CODE_OF_PAGE and not choices.percent(20):
        at, pages = _CODE_OF_PAGE[code]
        cdb[1] &= 0x18 if code != _INQUIRY else 0x01
        cdb[at] = choices.one_of(pages) | (choices.below(4) << 6 if code != _INQUIRY else 0)
        cdb[at + 1] &= 0xFF if code == _INQUIRY else choices.one_of((0, 0xFF))
    if choices.percent(3):
        cdb[choices.below(CDB_BYTES)] ^= 1 << choices.below(8)
    if blocks and code in READS:
        return Drawn(cdb, blocks * _BLOCK)
    return Drawn(cdb, choices.one_of((0, 4, 8, 18, 36, 96, 252, 255, 512, 4096, 65536)))


def _used(choices: Choices, code: int, operation: Operation) -> bytes:
    """Nothing in bits that are not looked at, by the table's own CDB usage data."""
    if operation.actions is None:
        usage = bytes.fromhex(operation.usage)
        fixed = {0: code}
    else:
        action = choices.one_of(sorted(operation.actions))
        usage = bytes.fromhex(operation.actions[action].usage)
        fixed = {0: code, 1: action}
    found = bytes(_field(choices, mask) if index not in fixed else fixed[index] for index, mask in enumerate(usage))
    return found.ljust(CDB_BYTES, b"\0")


def _field(choices: Choices, mask: int) -> int:
    if not mask:
        return 0
    return mask & choices.one_of((0, 0, 0xFF, 0x01, 0x18, 0x20, choices.below(256)))


def lba(choices: Choices, unit_blocks: int, blocks: int) -> int:
    """Mostly inside of the unit; the rest at its end and at the boundaries of fields."""
    kind = choices.below(20)
    if kind < 13:
        return choices.below(max(1, min(unit_blocks, 4096) - blocks))
    if kind < 15:
        return choices.below(unit_blocks)
    end = (unit_blocks, unit_blocks - 1, unit_blocks - blocks, unit_blocks - blocks + 1, 2**32 - blocks)
    return max(0, choices.one_of(end)) if kind < 18 else choices.number(64)


def _extent(choices: Choices, cdb: bytearray, code: int, unit_blocks: int) -> int:
    """Number of blocks put in; as far as they have a place there."""
    (at, size), (length_at, length_size) = _LAYOUTS_BY_CODE.get(code) or _LAYOUTS[code >> 5]
    blocks = choices.one_of(_BLOCKS) if not choices.percent(3) else choices.number(32)
    if blocks > unit_blocks and not choices.percent(10):
        blocks %= unit_blocks
    blocks %= 1 << 8 * length_size
    first = lba(choices, unit_blocks, blocks) % (1 << 8 * size)
    cdb[at : at + size] = first.to_bytes(size, "big")
    cdb[length_at : length_at + length_size] = blocks.to_bytes(length_size, "big")
    if code == 0x9C and not choices.percent(5):
        cdb[10:12] = b"\0\0"
    return blocks
