"""One operation: which guards it has, what it has changed, and how it ends wholly or not at all.

    result = yield from runner.run(body, {(INODE, 7): Mode.EX})

`body` is a generator function of the operation. It changes nothing but the operation's own copies; when it returns they
are merged into the journal and the caches between two steps. If it raises FsError nothing has changed. When it needs a
guard that it cannot have at once it is begun anew, with that guard taken in its turn.
"""

from __future__ import annotations

import errno

from guestd.dlm.modes import Mode
from guestd.sfs import inode as inodes
from guestd.sfs.block import BLOCK_SIZE, BODY_SIZE, Kind, unseal
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.journal import drop_range
from guestd.sfs.keys import INODE
from guestd.sfs.runs import Runs
from guestd.tasks.steps import DiskError, Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from guestd.sfs.blocks import Blocks
    from guestd.sfs.guard import Guard
    from guestd.sfs.guards import Guards
    from guestd.sfs.inode import Inode
    from guestd.sfs.journal import Journal
    from guestd.sfs.keys import Key
    from guestd.sfs.superblock import Superblock
    from guestd.tasks.steps import Task

    _T = TypeVar("_T")
    Body = Callable[["Operation"], Task[_T]]

RESTARTS_MAX = 1000
"""An operation needs a guard more each time, so this is far beyond what one can need."""


class _Need(Exception):
    """Begin anew with that guard."""

    def __init__(self, key: Key, mode: Mode) -> None:
        super().__init__(key, mode)
        self.key = key
        self.mode = mode


class CommitFirst(Exception):
    """There is room only where a commit makes it."""


class Operation:
    """The working copies of one run of a body."""

    __slots__ = (
        "_held",
        "_inodes",
        "_touched",
        "at_merge",
        "changed",
        "freed",
        "pages",
        "patient",
        "place",
        "superblock",
    )

    def __init__(self, place: Place, held: dict[Key, Guard], *, patient: bool) -> None:
        """patient: it may still ask for a commit."""
        self.place = place
        self.superblock = place.superblock
        self._held = held
        self._inodes: dict[int, Inode] = {}
        self._touched: dict[int, None] = {}
        self.patient = patient
        self.changed: dict[int, tuple[Key, Kind, bytes]] = {}
        self.freed: list[tuple[Key, int, int]] = []  # whose, first block, number of blocks
        self.pages = Runs()
        self.at_merge: list[Callable[[], None]] = []  # changes of what is cached

    def guard(self, key: Key, mode: Mode) -> Task[Guard]:
        """Have that guard, or begin anew."""
        guard = self._held.get(key)
        if guard is not None:
            if not guard.allows(mode):
                raise _Need(key, mode)
            return guard
        if key > max(self._held, default=(-1, 0)):
            guard = yield from self.place.guards.take(key, mode)
        else:
            guard = yield from self.place.guards.try_take(key, mode)
            if guard is None:
                raise _Need(key, mode)
        self._held[key] = guard
        return guard

    def cached(self, key: Key) -> Guard:
        """A guard that it has."""
        return self._held[key]

    def read(self, key: Key, kind: Kind, number: int) -> Task[bytes]:
        """The body of a block that a guard of this operation guards. Raises Damaged, DiskError."""
        if number in self.changed:
            return self.changed[number][2]
        guard = self._held[key]
        body = guard.blocks.get(number)
        if body is None:
            body = yield from self.place.blocks.read_body(self.superblock.uuid, kind, number)
            guard.blocks[number] = body
        return body

    def load(self, key: Key, kind: Kind, first: int, count: int) -> Task[None]:
        """As `read`, of many in a row, with as few commands as there are gaps in what is cached."""
        bodies = self._held[key].blocks
        place, end = first, first + count
        while place < end:
            if place in bodies or place in self.changed:
                place += 1
                continue
            gap = 1
            while place + gap < end and place + gap not in bodies and place + gap not in self.changed:
                gap += 1
            data = yield from self.place.blocks.read(place, gap)
            for step in range(gap):
                block = data[BLOCK_SIZE * step : BLOCK_SIZE * (step + 1)]
                bodies[place + step] = unseal(self.superblock.uuid, kind, place + step, block)
            place += gap

    def write(self, key: Key, kind: Kind, number: int, body: bytes) -> bytes:
        """Change a block that a guard in EX guards; its body from now on."""
        assert self._held[key].mode is Mode.EX, f"{key} is held in {self._held[key].mode}"
        whole = body.ljust(BODY_SIZE, b"\0")
        self.changed[number] = (key, kind, whole)
        return whole

    def inode(self, number: int, mode: Mode) -> Task[Inode]:
        """The operation's copy of that inode, deleted or not. Raises Damaged."""
        if not self.superblock.is_usable(number):
            raise FsError(errno.ESTALE, f"there is no inode {number}")
        yield from self.guard((INODE, number), mode)
        found = self._inodes.get(number)
        if found is None:
            body = yield from self.read((INODE, number), Kind.INODE, number)
            guard = self._held[INODE, number]
            known = guard.decoded
            if known is None or known[0] is not body:
                known = guard.decoded = (body, inodes.decode(self.superblock, number, body))
            found = self._inodes[number] = known[1].copy()
        return found

    def live(self, identity: int, mode: Mode) -> Task[Inode]:
        """The inode with that identity, which exists; open ones without a name do. Raises FsError (ESTALE)."""
        found = yield from self.inode(inodes.number_of(identity), mode)
        if not found.mode or found.identity != identity:
            raise FsError(errno.ESTALE, f"inode {found.number} has been deleted")
        return found

    def add(self, inode: Inode) -> None:
        """A new inode, whose guard it has. Raises Damaged if this operation knows another one in that block."""
        if inode.number in self._inodes:
            raise Damaged(f"block {inode.number} is an inode that is in use, and marked as free")
        self._inodes[inode.number] = inode
        self._touched[inode.number] = None

    def touch(self, inode: Inode) -> None:
        """It has been changed."""
        assert self._inodes[inode.number] is inode, "a copy of another operation"
        self._touched[inode.number] = None

    def finish(self) -> Task[None]:
        """Merge everything. Raises FsError."""
        for number in self._touched:
            self.write((INODE, number), Kind.INODE, number, self._inodes[number].encode())
        if not (self.changed or self.freed or self.pages.count):
            return
        journal = self.place.journal
        if len(self.changed) > self.superblock.images_max:
            raise FsError(errno.EFBIG, f"an operation that changes {len(self.changed)} blocks")
        changed = {number: (kind, body) for number, (_, kind, body) in self.changed.items()}
        while not journal.room_for(changed):
            yield from journal.commit()
        if journal.failed is not None:
            raise FsError(errno.EIO, journal.failed)
        for key, first, count in self.freed:
            drop_range(self._held[key].blocks, first, count)
            self._held[key].pages.drop(first, count)
        for number, (key, _, body) in self.changed.items():
            self._held[key].blocks[number] = body
        for number in self._touched:  # this operation changes them no more
            self._held[INODE, number].decoded = (self.changed[number][2], self._inodes[number])
        for run in self.pages.all():
            self._held[run.key].pages.put(run)
        keys = [key for key, _, _ in self.changed.values()]
        journal.merge(changed, keys, [(first, count) for _, first, count in self.freed], self.pages)
        for change in self.at_merge:
            change()


class Place:
    """What operations work on, and their runner."""

    __slots__ = (
        "_idle",
        "blocks",
        "closing",
        "failed",
        "full",
        "generations",
        "guards",
        "journal",
        "reaps_left",
        "running",
        "slot",
        "superblock",
        "unsure",
    )

    def __init__(self, blocks: Blocks, superblock: Superblock, slot: int, journal: Journal, guards: Guards) -> None:
        self.blocks = blocks
        self.superblock = superblock
        self.slot = slot
        self.journal = journal
        self.guards = guards
        self.full: dict[int, None] = {}  # groups in which there was no room when they were last looked at
        self.running = 0  # operations
        self.generations = 0
        self.unsure = False  # of an orphan of this node's list: whether somebody has it open
        self.reaps_left = 0  # how often all lists of orphans are still to be gone through after a death
        self._idle: Signal | None = None
        self.closing = False
        self.failed: str | None = None  # why no operation can be carried out any more

    def next_generation(self) -> int:
        """Another one each time, on all nodes and in all their lives."""
        self.generations += 1
        return ((self.journal.incarnation << 32 | self.generations) * 64 + self.slot) & (1 << 64) - 1

    def run(self, body: Body[_T], wants: dict[Key, Mode]) -> Task[_T]:
        """What the body returns. Raises FsError."""
        result = yield from self.count(self._run(body, dict(wants)))
        return result

    def count(self, task: Task[_T]) -> Task[_T]:
        """Carry that out as one that an unmount waits for. Raises FsError when there is none any more."""
        self._check()
        self.running += 1
        try:
            result = yield from task
        finally:
            self.running -= 1
            if not self.running and self._idle is not None:
                self._idle.fire()
        return result

    def idle(self) -> Task[None]:
        """Until no operation is under way; `closing` is set, so none begins."""
        if self.running:
            self._idle = Signal()
            yield self._idle

    def _check(self) -> None:
        why = self.failed or self.journal.failed
        if why is not None:
            raise FsError(errno.EIO, why)
        if self.closing:
            raise FsError(errno.ESHUTDOWN, "the file system is being unmounted")

    def _run(self, body: Body[_T], wants: dict[Key, Mode]) -> Task[_T]:
        commits = 3
        for _ in range(RESTARTS_MAX):
            try:
                return (yield from self._try(body, wants, patient=commits > 0))
            except _Need as need:
                had = wants.get(need.key, Mode.NL)
                wants[need.key] = need.mode if need.mode.value > had.value else had
            except CommitFirst:
                commits -= 1
                yield from self.journal.commit()
            except (Damaged, DiskError) as why:
                raise FsError(errno.EIO, str(why)) from why
        raise FsError(errno.EIO, f"begun {RESTARTS_MAX} times")

    def _try(self, body: Body[_T], wants: dict[Key, Mode], *, patient: bool) -> Task[_T]:
        held: dict[Key, Guard] = {}
        try:
            for key in sorted(wants):
                held[key] = yield from self.guards.take(key, wants[key])
            if self.failed is not None:  # meanwhile
                raise FsError(errno.EIO, self.failed)
            operation = Operation(self, held, patient=patient)
            result = yield from body(operation)
            yield from operation.finish()
            return result
        finally:
            for guard in held.values():
                self.guards.give(guard)
