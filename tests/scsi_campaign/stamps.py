"""Blocks that tell by themselves who wrote them: initiator, its sequence number, and where the block was to go."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from hil.scsi.medium import BLOCK_BYTES

_STAMP: Final = struct.Struct(">4sHxxQQQ")
_MAGIC: Final = b"HILB"
_REPEATS: Final = BLOCK_BYTES // _STAMP.size
ZEROS: Final = bytes(BLOCK_BYTES)


class Stamp(NamedTuple):
    """``lba`` is where the initiator sent the block; ``number`` counts the blocks of one command."""

    initiator: int
    sequence: int
    lba: int
    number: int


def stamped(initiator: int, sequence: int, lba: int, blocks: int) -> bytes:
    """``blocks`` blocks for ``lba`` and those after it. The stamp fills a block, so a part of one is seen as such."""
    pack = _STAMP.pack
    return b"".join(pack(_MAGIC, initiator, sequence, lba + index, index) * _REPEATS for index in range(blocks))


def read_stamp(block: bytes) -> Stamp | None:
    """None for a block that is not all of one stamp."""
    head = block[: _STAMP.size]
    if not head.startswith(_MAGIC) or head * _REPEATS != block:
        return None
    _, initiator, sequence, lba, number = _STAMP.unpack(head)
    return Stamp(initiator, sequence, lba, number)


def different_bits(one: bytes, other: bytes) -> int:
    """In how many bits two of the same length differ."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def split(data: bytes) -> list[bytes]:
    """The blocks of whole blocks."""
    return [data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES)]
