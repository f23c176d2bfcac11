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

Numbers only grow, and the head follows: so a transaction is never older than its head says, and one of a journal that
nobody uses is never newer. What is neither that nor torn is damage, and nobody knows what is lost.
"""

from __future__ import annotations

import struct
import zlib

from guestd.core.value import Value
from guestd.sfs.block import BLOCK_SIZE, BODY_SIZE, Kind, kind_of, may_be_torn, unseal
from guestd.sfs.errors import Damaged
from guestd.sfs.superblock import IMAGES_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.superblock import Superblock

_HEAD = struct.Struct("<QB3xI")
_TRANSACTION = struct.Struct("<QI4x")
_IMAGE = struct.Struct("<QI4x")
assert (BODY_SIZE - _TRANSACTION.size) // _IMAGE.size == IMAGES_MAX, "superblock.py has the same number"


NUMBER_MAX = 1 << 63
"""Of a transaction: never reached, and such that there is a next one."""


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
    head = Head(cleared, bool(in_use), incarnation)
    if cleared > NUMBER_MAX or head.encode().ljust(BODY_SIZE, b"\0") != body:
        raise Damaged(f"the head of journal {slot} says more than there is to say")
    return head


def describe(number: int, images: list[tuple[int, bytes]]) -> Description:
    """Of a transaction of these blocks."""
    return Description(number, tuple((block, zlib.crc32(image)) for block, image in images))


def decode_description(superblock: Superblock, slot: int, body: bytes) -> Description:
    """Raises Damaged."""
    number, count = _TRANSACTION.unpack_from(body)
    if not 1 <= count <= superblock.images_max:
        raise Damaged(f"the transaction in journal {slot} changes {count} blocks")
    images = tuple(_IMAGE.unpack_from(body, _TRANSACTION.size + _IMAGE.size * place) for place in range(count))
    wrong = [block for block, _ in images if not superblock.kinds_at(block)]
    if wrong or len({block for block, _ in images}) < count:
        raise Damaged(f"the transaction in journal {slot} changes the blocks {wrong or [block for block, _ in images]}")
    found = Description(number, images)
    if number > NUMBER_MAX or found.encode().ljust(BODY_SIZE, b"\0") != body:
        raise Damaged(f"the transaction in journal {slot} says more than there is to say")
    return found


def transaction_in(superblock: Superblock, slot: int, head: Head, block: bytes) -> Description | None:
    """What stands in that journal, whether it counts or not. None: there is none, or it is torn. Raises Damaged."""
    at = superblock.transaction(slot)
    try:
        body = unseal(superblock.uuid, Kind.TRANSACTION, at, block)
    except Damaged as why:
        # Before the first one anything may be there, and what is there does not matter where nothing is to be replayed.
        if head.cleared and head.in_use and not may_be_torn(superblock.uuid, Kind.TRANSACTION, at, block):
            raise Damaged(f"the transaction in journal {slot}: {why}") from why
        return None
    found = decode_description(superblock, slot, body)
    if found.number < head.cleared or (found.number > head.cleared and not head.in_use):
        used = "in use" if head.in_use else "not in use"
        raise Damaged(
            f"journal {slot} holds transaction {found.number}; its head says {used}, and in place up to {head.cleared}"
        )
    return found


def images_of(superblock: Superblock, slot: int, found: Description, data: bytes) -> dict[int, bytes] | None:
    """The images behind the description, by the numbers of their blocks. None: they are torn. Raises Damaged."""
    images = [data[BLOCK_SIZE * place : BLOCK_SIZE * (place + 1)] for place in range(len(found.images))]
    if not found.matches(images):
        return None
    for (number, _), image in zip(found.images, images, strict=True):
        try:
            kind = kind_of(superblock.uuid, number, image)
        except Damaged as why:
            raise Damaged(f"the transaction in journal {slot}: {why}") from why
        if kind not in superblock.kinds_at(number):
            raise Damaged(f"the transaction in journal {slot} makes block {number} {kind.name.lower()}")
    return {number: image for (number, _), image in zip(found.images, images, strict=True)}
