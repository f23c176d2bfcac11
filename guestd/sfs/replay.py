"""Carries out what a journal says, so that everything that it committed is in its place."""

from __future__ import annotations

from guestd.sfs.block import BLOCK_SIZE, Kind, seal
from guestd.sfs.errors import Damaged
from guestd.sfs.journal_form import Head, decode_description, decode_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.blocks import Blocks
    from guestd.sfs.journal_form import Description
    from guestd.sfs.superblock import Superblock
    from guestd.tasks.steps import Task


def replay(blocks: Blocks, superblock: Superblock, slot: int, claim: int | None = None) -> Task[tuple[Head, bool]]:
    """Carry out the transaction of that journal if it counts, and clear it. Whether there was one.

    claim: the incarnation of the node that takes the journal over as its own. Twice is as good as once, also if the
    first time was broken off anywhere: the head is written last. Raises Damaged for a head that cannot be read,
    DiskError.
    """
    at = superblock.head(slot)
    head = decode_head(slot, (yield from blocks.read_body(superblock.uuid, Kind.JOURNAL, at)))
    found = yield from _description(blocks, superblock, slot)
    cleared = head.cleared
    replayed = False
    if found is not None and found.number > head.cleared:
        images = yield from _images(blocks, superblock, slot, found)
        if images is not None:
            yield from blocks.write_all(images)
            yield from blocks.flush()
            replayed = True
        cleared = found.number  # nor may one that is torn count later, when something else stands behind it
    after = Head(cleared, claim is not None, head.incarnation if claim is None else claim)
    if after != head:
        yield from blocks.write(at, seal(superblock.uuid, Kind.JOURNAL, at, after.encode()), durable=True)
    return after, replayed


def _description(blocks: Blocks, superblock: Superblock, slot: int) -> Task[Description | None]:
    at = superblock.transaction(slot)
    try:
        body = yield from blocks.read_body(superblock.uuid, Kind.TRANSACTION, at)
        return decode_description(superblock, slot, body)
    except Damaged:
        return None  # there was none yet, or the last one is torn


def _images(blocks: Blocks, superblock: Superblock, slot: int, found: Description) -> Task[dict[int, bytes] | None]:
    """What it changes; None if it is torn."""
    data = yield from blocks.read(superblock.transaction(slot) + 1, len(found.images))
    images = [data[BLOCK_SIZE * place : BLOCK_SIZE * (place + 1)] for place in range(len(found.images))]
    if not found.matches(images):
        return None
    return {number: image for (number, _), image in zip(found.images, images, strict=True)}
