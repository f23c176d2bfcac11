"""The journal of a node as it stands on the disk: its head, and the one transaction that it holds.

head            body
0       8     up to which transaction everything is in place: no replay may touch it any more
8       1     0: nobody uses this journal; 1: a node does, or did until it died
9       3     zero
12      4     incarnation of the node that claimed it last
All of it is within the first 512 bytes, and what follows is always zero. So it is written whole or not at all.

transaction     body
0       8     its number; one more than the last one's
8       4     how many blocks it changes
12      4     zero
16            for each: its number (8), the CRC-32 of the image (4), zero (4)
It counts if its own checksum and those of all images match: a torn one is none.
"""

from __future__ import annotations

import struct
import zlib

from guestd.core.value import Value
from guestd.sfs.block import BODY_SIZE
from guestd.sfs.errors import Damaged
from guestd.sfs.superblock import IMAGES_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.superblock import Superblock

_HEAD = struct.Struct("<QB3xI")
_TRANSACTION = struct.Struct("<QI4x")
_IMAGE = struct.Struct("<QI4x")
assert (BODY_SIZE - _TRANSACTION.size) // _IMAGE.size == IMAGES_MAX, "superblock.py has the same number"


class Head(Value):
    """What the head of a journal says."""

    cleared: int
    in_use: bool
    incarnation: int

    def encode(self) -> bytes:
        """The body."""
        return _HEAD.pack(self.cleared, int(self.in_use), self.incarnation)


class Description(Value):
    """What the transaction's block says."""

    number: int
    images: tuple[tuple[int, int], ...]  # number of the block, CRC-32 of its image

    def encode(self) -> bytes:
        """The body."""
        entries = b"".join(_IMAGE.pack(*image) for image in self.images)
        return _TRANSACTION.pack(self.number, len(self.images)) + entries

    def matches(self, images: list[bytes]) -> bool:
        """Whether these are its images, all of them whole."""
        return [crc for _, crc in self.images] == [zlib.crc32(image) for image in images]


def decode_head(slot: int, body: bytes) -> Head:
    """Raises Damaged."""
    cleared, in_use, incarnation = _HEAD.unpack_from(body)
    if in_use > 1 or body[_HEAD.size :].strip(b"\0"):
        raise Damaged(f"the head of journal {slot} says more than there is to say")
    return Head(cleared, bool(in_use), incarnation)


def describe(number: int, images: list[tuple[int, bytes]]) -> Description:
    """Of a transaction of these blocks."""
    return Description(number, tuple((block, zlib.crc32(image)) for block, image in images))


def decode_description(superblock: Superblock, slot: int, body: bytes) -> Description:
    """Raises Damaged."""
    number, count = _TRANSACTION.unpack_from(body)
    if not 1 <= count <= superblock.images_max:
        raise Damaged(f"the transaction in journal {slot} changes {count} blocks")
    images = tuple(_IMAGE.unpack_from(body, _TRANSACTION.size + _IMAGE.size * place) for place in range(count))
    orphans = [superblock.orphans(one) for one in range(superblock.slots)]
    wrong = [block for block, _ in images if not superblock.first_group <= block < superblock.blocks]
    if set(wrong) - set(orphans):
        raise Damaged(f"the transaction in journal {slot} changes the blocks {wrong}")
    return Description(number, images)
