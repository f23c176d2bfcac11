"""Carries out what a journal says, so that everything that it committed is in its place."""

from __future__ import annotations

from guestd.sfs.block import Kind, seal
from guestd.sfs.journal_form import Head, decode_head, images_of, transaction_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.blocks import Blocks
    from guestd.sfs.superblock import Superblock
    from guestd.tasks.steps import Task


def replay(blocks: Blocks, superblock: Superblock, slot: int, claim: int | None = None) -> Task[tuple[Head, bool]]:
    """Carry out the transaction of that journal if it counts, and clear it. Whether there was one.

    claim: the incarnation of the node that takes the journal over as its own. Twice is as good as once, also if the
    first time was broken off anywhere: the head is written last. Raises DiskError; Damaged, before anything is written,
    for a head that cannot be read, or a transaction that no crash can have left like that.
    """
    at = superblock.head(slot)
    head = decode_head(slot, (yield from blocks.read_body(superblock.uuid, Kind.JOURNAL, at)))
    found = transaction_in(superblock, slot, head, (yield from blocks.read(superblock.transaction(slot))))
    cleared = head.cleared
    replayed = False
    if found is not None and found.number > head.cleared:
        data = yield from blocks.read(superblock.transaction(slot) + 1, len(found.images))
        images = images_of(superblock, slot, found, data)
        if images is not None:
            yield from blocks.write_all(images)
            yield from blocks.flush()
            replayed = True
        cleared = found.number  # nor may one that is torn count later, when something else stands behind it
    after = Head(cleared, claim is not None, head.incarnation if claim is None else claim)
    if after != head:
        yield from blocks.write(at, seal(superblock.uuid, Kind.JOURNAL, at, after.encode()), durable=True)
    return after, replayed
