"""The journal of this node: gathers what operations have changed, and brings it to the disk as one transaction.

    merge(…), merge(…)      operations that have ended, in memory only; each is merged as a whole, between two steps
    commit()                1. contents of files, and the images of the changed blocks into the journal; flush
                            2. the description of the transaction, durably: from here on it has happened
                            3. the blocks to their places; flush
    write_back()            0. contents of files, so that there is less to do in 1
    clear()                 4. the head of the journal says that the transaction is in place, durably

Who waits for a commit waits until 2 has ended; 3 follows at once, but in a task of its own (`put_in_place`). Step 4 is
taken only when a lock of the transaction is to be given up. The journal holds one transaction: the next one is written
over it, which may be done once 3 has ended. Why a replay is right at any time: docs/sfs.md.
"""

from __future__ import annotations

import errno

from guestd.sfs.block import Kind, seal
from guestd.sfs.blocks import COMMAND_BLOCKS_MAX
from guestd.sfs.errors import FsError
from guestd.sfs.journal_form import Head, describe
from guestd.sfs.mutex import Mutex
from guestd.sfs.runs import Runs
from guestd.tasks.steps import DiskError, Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.sfs.blocks import Blocks
    from guestd.sfs.keys import Key
    from guestd.sfs.runs import Run
    from guestd.sfs.superblock import Superblock
    from guestd.tasks.steps import Task

DIRTY_MAX = 1024
"""Blocks of contents that wait to be written (4 MiB); who writes more waits for that."""
WRITE_BACK_MIN = 256
"""So many are worth to be written while the program goes on (1 MiB), and so many are written then."""


def drop_range(table: dict[int, Any], first: int, count: int) -> None:
    """Take all of these numbers out of it."""
    numbers = range(first, first + count)
    for number in [one for one in table if one in numbers] if count > len(table) else numbers:
        table.pop(number, None)


class Transaction:
    """What has changed together."""

    __slots__ = ("blocks", "freed", "keys")

    def __init__(self) -> None:
        self.blocks: dict[int, tuple[Kind, bytes]] = {}  # number -> kind and body
        self.keys: dict[Key, None] = {}  # the locks that guard them
        self.freed: dict[int, int] = {}  # group -> bits of the blocks that it sets free


class Journal:
    """Of one mounted file system."""

    __slots__ = (
        "_blocks",
        "_committing",
        "_images",
        "_live",
        "_mutex",
        "_number",
        "_on_failure",
        "_room",
        "_running",
        "_slot",
        "_superblock",
        "_unflushed",
        "_writing_back",
        "commits",
        "dirty",
        "failed",
        "incarnation",
    )

    def __init__(self, blocks: Blocks, superblock: Superblock, slot: int, head: Head) -> None:
        """head: as it stands on the disk, claimed by this node."""
        self._blocks = blocks
        self._superblock = superblock
        self._slot = slot
        self._mutex = Mutex()
        self._running = Transaction()
        self._committing = Transaction()
        self._live = Transaction()  # in the journal, and a replay would carry it out
        self._images: dict[int, bytes] = {}  # of that one, not in place yet
        self._number = head.cleared
        self._writing_back = False
        self._room: Signal | None = None  # fired when less waits to be written, or nothing will be any more
        self._unflushed = False  # contents were written back since the last flush
        self._on_failure: list[Callable[[str], None]] = []
        self.incarnation = head.incarnation
        self.dirty = Runs()  # contents that are to be written
        self.failed: str | None = None  # why nothing can be written any more
        self.commits = 0

    def on_failure(self, told: Callable[[str], None]) -> None:
        """To be called once, with the reason, when a commit has failed."""
        self._on_failure.append(told)

    def pending(self, group: int) -> int:
        """Bits of the blocks of a group that are free in memory, but not yet on the disk: not to be used again."""
        return self._running.freed.get(group, 0) | self._committing.freed.get(group, 0)

    @property
    def pends(self) -> bool:
        """Whether a commit would make blocks free."""
        return bool(self._running.freed or self._committing.freed)

    @property
    def wants_write_back(self) -> bool:
        """Whether `write_back` should be begun now."""
        return self.dirty.count >= WRITE_BACK_MIN and not self._writing_back

    @property
    def is_to_be_put_in_place(self) -> bool:
        """Whether `put_in_place` would do something."""
        return bool(self._images)

    def room_for(self, changed: dict[int, tuple[Kind, bytes]]) -> bool:
        """Whether these blocks go into the running transaction."""
        running = self._running.blocks
        return len(running) + len(changed.keys() - running.keys()) <= self._superblock.images_max

    def merge(
        self,
        changed: dict[int, tuple[Kind, bytes]],
        keys: list[Key],
        freed: list[tuple[int, int]],
        pages: Runs,
    ) -> None:
        """An operation has ended. freed: (first block, number of blocks)."""
        assert self.failed is None, self.failed
        assert self.room_for(changed), f"{len(changed)} blocks in one operation"
        running = self._running
        for first, count in freed:
            drop_range(running.blocks, first, count)
            self.dirty.drop(first, count)
            group = self._superblock.group_of(first)
            bits = ((1 << count) - 1) << (first - self._superblock.group_start(group))
            running.freed[group] = running.freed.get(group, 0) | bits
        running.blocks.update(changed)
        if changed:
            running.keys.update(dict.fromkeys(keys))
        for run in pages.all():
            self.dirty.put(run)

    def commit(self) -> Task[None]:
        """All that is merged now is on the medium when it ends. Raises FsError (EIO); then nothing can be written."""
        yield from self._mutex.take()
        try:
            yield from self._commit()
        finally:
            self._mutex.give()

    def write_back(self) -> Task[None]:
        """Write contents while there are many that wait. Raises nothing: see `on_failure`.

        What is merged with them stays, so who saves that flushes them too: they are on the medium before the
        transaction that makes their blocks part of a file.
        """
        self._writing_back = True
        try:
            while self.failed is None and self.dirty.count >= WRITE_BACK_MIN:
                yield from self._mutex.take()  # for each mebibyte anew: others have their turns
                try:
                    yield from self._write_some()
                finally:
                    self._mutex.give()
        finally:
            self._writing_back = False
            self._tell_of_room()

    def room(self) -> Task[None]:
        """Until no more than DIRTY_MAX blocks wait to be written. Raises FsError (EIO)."""
        while self.dirty.count > DIRTY_MAX:
            self._check()
            if not self._writing_back:
                yield from self.commit()
                continue
            self._room = self._room or Signal()
            yield self._room

    def put_in_place(self) -> Task[None]:
        """Step 3 of what was committed, if it has not been taken. Raises nothing: see `on_failure`."""
        yield from self._mutex.take()
        try:
            if self.failed is None:
                yield from self._put_in_place()
        except DiskError as why:
            self._fail(f"what was committed cannot be put in place: {why}")
        finally:
            self._mutex.give()

    def save(self, key: Key) -> Task[None]:
        """What was changed under that lock is on the medium when it ends. Raises as `commit`."""
        if self._concerns(key):
            yield from self._mutex.take()
            try:
                if self._concerns(key):
                    yield from self._commit()
            finally:
                self._mutex.give()

    def settle(self, key: Key) -> Task[None]:
        """That lock may be given up when it ends: also, no replay would touch what it guards. Raises as `commit`."""
        yield from self._mutex.take()
        try:
            if self._concerns(key):
                yield from self._commit()
            if key in self._live.keys:
                yield from self._clear(in_use=True)
        finally:
            self._mutex.give()

    def close(self) -> Task[None]:
        """All is in place, and nobody uses the journal any more. Raises as `commit`."""
        yield from self._mutex.take()
        try:
            yield from self._commit()
            yield from self._clear(in_use=False)
        finally:
            self._mutex.give()

    # -- inner workings, all with the mutex

    def _write_some(self) -> Task[None]:
        if self.failed is not None:
            return
        pages = self.dirty.lowest(WRITE_BACK_MIN)
        self._unflushed = True
        try:
            yield from self._blocks.write_all({run.first: run.data for run in pages})
        except DiskError as why:
            self._fail(f"contents cannot be written: {why}")
            return
        self._have_written(pages)

    def _concerns(self, key: Key) -> bool:
        if key in self._running.keys or key in self._committing.keys:
            return True
        return any(run.key == key for run in self.dirty.all())

    def _check(self) -> None:
        if self.failed is not None:
            raise FsError(errno.EIO, self.failed)

    def _fail(self, why: str) -> FsError:
        """From here on this node must not write: whether the transaction counts, only a replay can tell."""
        self.failed = why
        for told in self._on_failure:
            told(why)
        return FsError(errno.EIO, why)

    def _commit(self) -> Task[None]:
        self._check()
        transaction, pages = self._running, self.dirty.all()
        if not transaction.blocks and not transaction.freed and not pages:
            return
        self._running, self._committing = Transaction(), transaction
        try:
            yield from self._write(transaction, {run.first: run.data for run in pages})
        except DiskError as why:
            raise self._fail(f"the journal cannot be written: {why}") from why
        self._have_written(pages)
        self._committing = Transaction()
        self.commits += 1

    def _have_written(self, pages: list[Run]) -> None:
        """These wait no more, but those of which something was changed meanwhile."""
        for run in pages:
            self.dirty.remove(run)
        self._tell_of_room()

    def _tell_of_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.fire()

    def _write(self, transaction: Transaction, pages: dict[int, bytes]) -> Task[None]:
        blocks = self._blocks
        uuid = self._superblock.uuid
        images = {number: seal(uuid, kind, number, body) for number, (kind, body) in transaction.blocks.items()}
        yield from self._put_in_place()
        yield from blocks.write_all(pages)
        if not images:
            yield from blocks.flush()
            self._unflushed = False
            return
        self._number += 1
        at = self._superblock.transaction(self._slot)
        body = describe(self._number, list(images.items())).encode()
        description = seal(uuid, Kind.TRANSACTION, at, body)
        is_small = len(images) < COMMAND_BLOCKS_MAX
        if not is_small:
            yield from blocks.write(at + 1, b"".join(images.values()))
        if pages or self._unflushed or not is_small:
            yield from blocks.flush()
            self._unflushed = False
        if is_small:
            # One command: whatever of it a crash leaves, the checksums tell whether it is all.
            yield from blocks.write(at, description + b"".join(images.values()), durable=True)
        else:
            yield from blocks.write(at, description, durable=True)
        self._live, self._images = transaction, images

    def _put_in_place(self) -> Task[None]:
        images = self._images
        if images:
            yield from self._blocks.write_all(images)
            yield from self._blocks.flush()
            self._images = {}

    def _clear(self, *, in_use: bool) -> Task[None]:
        self._check()
        head = self._superblock.head(self._slot)
        body = Head(self._number, in_use, self.incarnation).encode()
        try:
            yield from self._put_in_place()
            yield from self._blocks.write(head, seal(self._superblock.uuid, Kind.JOURNAL, head, body), durable=True)
        except DiskError as why:
            raise self._fail(f"the journal's head cannot be written: {why}") from why
        self._live = Transaction()
