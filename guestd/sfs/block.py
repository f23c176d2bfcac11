"""The frame of every block that is not contents of a file: what it is, whose, where, and a checksum over all of it.

offset  size
0       4     magic "HSFS"
4       1     version of the format, 1
5       1     kind of the block
6       2     zero
8       4     CRC-32 of all other bytes of the block
12      4     zero
16      8     the block's own number
24      16    UUID of the file system
40      4056  body
All numbers are little-endian. A block is 4096 bytes, eight of the disk's.
"""

from __future__ import annotations

import struct
import zlib

from guestd.core.enumeration import Enum
from guestd.sfs.errors import Damaged

BLOCK_SIZE = 4096
SECTORS = BLOCK_SIZE // 512
HEADER_SIZE = 40
BODY_SIZE = BLOCK_SIZE - HEADER_SIZE
MAGIC = b"HSFS"
VERSION = 1

_FRAME = struct.Struct("<4sBBHIIQ16s")


class Kind(Enum):
    """What a block is."""

    SUPERBLOCK = 1
    JOURNAL = 2  # the head of a node's journal
    TRANSACTION = 3  # what stands in that journal
    ORPHANS = 4  # inodes without a name that a node has left, for somebody had them open
    BITMAP = 5  # the first block of an allocation group
    INODE = 6
    EXTENTS = 7  # where parts of a fragmented file lie
    DIRECTORY = 8


def checksum(block: bytes) -> int:
    """Of all but the checksum's own four bytes."""
    return zlib.crc32(block[12:], zlib.crc32(block[:8]))


def seal(uuid: bytes, kind: Kind, number: int, body: bytes) -> bytes:
    """The 4096 bytes of a block."""
    assert len(body) <= BODY_SIZE, f"the body of {kind} {number} has {len(body)} bytes"
    block = _FRAME.pack(MAGIC, VERSION, kind.value, 0, 0, 0, number, uuid) + body.ljust(BODY_SIZE, b"\0")
    return block[:8] + checksum(block).to_bytes(4, "little") + block[12:]


def unseal(uuid: bytes | None, kind: Kind, number: int, block: bytes) -> bytes:
    """The body. uuid None: whatever it is. Raises Damaged."""
    found = kind_of(uuid, number, block)
    if found is not kind:
        raise Damaged(f"block {number} is {found.name.lower()}, not {kind.name.lower()}")
    return block[HEADER_SIZE:]


def kind_of(uuid: bytes | None, number: int, block: bytes) -> Kind:
    """What a whole block of this file system is that belongs there. Raises Damaged."""
    if not block:
        raise Damaged(f"block {number} cannot be read")
    if len(block) != BLOCK_SIZE:
        raise Damaged(f"block {number} has {len(block)} bytes")
    magic, version, kind, zero, crc, more, own, found_uuid = _FRAME.unpack_from(block)
    if magic != MAGIC:
        raise Damaged(f"block {number} begins with {magic!r} instead of {MAGIC!r}")
    if crc != checksum(block):
        raise Damaged(f"block {number}: the checksum does not match")
    if version != VERSION:
        raise Damaged(f"block {number} has format version {version} (this software: {VERSION})")
    if zero or more:
        raise Damaged(f"block {number} says something where there should be zeros")
    if own != number:
        raise Damaged(f"block {number} says that it is block {own}")
    if uuid is not None and found_uuid != uuid:
        raise Damaged(f"block {number} belongs to the file system {found_uuid.hex()}")
    try:
        return Kind(kind)
    except ValueError:
        raise Damaged(f"block {number} is of kind {kind}, which does not exist") from None


def may_be_torn(uuid: bytes, kind: Kind, number: int, block: bytes) -> bool:
    """Whether a crash in the middle of writing that block over an older one of the same kind may leave this.

    Both begin with the same frame but for the checksum, so what is left does too.
    """
    frame = _FRAME.pack(MAGIC, VERSION, kind.value, 0, 0, 0, number, uuid)
    return len(block) == BLOCK_SIZE and block[:8] == frame[:8] and block[12:HEADER_SIZE] == frame[12:]


def uuid_of(block: bytes) -> bytes:
    """The UUID in the frame of a whole block."""
    uuid: bytes = _FRAME.unpack_from(block)[7]
    return uuid
