"""The mounted file system: what the mount calls. Every call is a task; what fails raises FsError and changes nothing.

Inodes are named by their identities (`Attributes.inode`). `now` is in ns since 1970.
"""

from __future__ import annotations

import errno
import stat

from guestd.core.value import Value
from guestd.dlm.modes import Mode
from guestd.sfs import attributes, bitmap, contents, lifetimes, names, ranges, tree
from guestd.sfs.block import BLOCK_SIZE, Kind
from guestd.sfs.directory import NAME_SIZE_MAX
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.file_locks import FileLocks
from guestd.sfs.guards import Guards
from guestd.sfs.inode import number_of
from guestd.sfs.keys import GROUP, INODE, ORPHANS
from guestd.sfs.operation import Place
from guestd.tasks.steps import DiskError, Release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from guestd.sfs.attributes import Attributes
    from guestd.sfs.blocks import Blocks
    from guestd.sfs.file_locks import Call
    from guestd.sfs.guard import Guard
    from guestd.sfs.journal import Journal
    from guestd.sfs.keys import Key
    from guestd.sfs.operation import Operation
    from guestd.sfs.superblock import Superblock
    from guestd.tasks.steps import Task

    _T = TypeVar("_T")

_PERMISSIONS = 0o7777
REAPS_AFTER_DEATH = 10
"""With a `sync` every few seconds: until well after the end of the recovery, and not for ever for what is open."""

READ, WRITE, UNLOCK = 0, 1, 2  # kinds of locks of programs, as F_RDLCK, F_WRLCK, F_UNLCK of Linux
TO_THE_END = (1 << 63) - 1
_EXCLUSIVE = {READ: False, WRITE: True, UNLOCK: None}


def _refuse(why: str) -> Task[Any]:
    """A task that raises EINVAL: whatever goes wrong comes out of the task, not of the call that makes it."""
    yield from ()
    raise FsError(errno.EINVAL, why)


def _after(end: int) -> int:
    """The first byte behind a range of a lock."""
    return ranges.END if end == TO_THE_END else end + 1


def _key(identity: int) -> Key:
    return (INODE, number_of(identity))


class Space(Value):
    """What `statfs` tells; of blocks of 4096 bytes. An inode takes one."""

    block_size: int
    blocks: int
    free: int
    name_size_max: int


class FileSystem:
    """Of one life of one node."""

    __slots__ = ("_held", "_locks", "_place", "_start", "blocks", "journal", "superblock")

    def __init__(
        self,
        blocks: Blocks,
        superblock: Superblock,
        slot: int,
        journal: Journal,
        start: Callable[[Task[Any]], None],
        held: tuple[int, ...],
    ) -> None:
        """held: locks that this node keeps for as long as it is mounted. See `mount`."""
        self.blocks = blocks
        self.superblock = superblock
        self.journal = journal
        self._held = held
        self._start = start
        self._locks = FileLocks(superblock.uuid)
        self._place = Place(blocks, superblock, slot, journal, Guards(superblock.uuid, journal, start))

    @property
    def root(self) -> int:
        """The inode of the root directory."""
        return self.superblock.root

    @property
    def failed(self) -> str | None:
        """Why every call ends with EIO. If it is the journal, this node must be forced out: it keeps its locks."""
        return self._place.failed or self.journal.failed

    def fail(self, why: str) -> None:
        """Nothing is to be touched any more."""
        self._place.failed = self._place.failed or why

    # -- names

    def lookup(self, parent: int, name: bytes) -> Task[Attributes]:
        """Raises ENOENT, ENOTDIR, ENAMETOOLONG. "." and ".." are names too."""
        return self._attributes(lambda op: tree.look_up(op, parent, name), {_key(parent): Mode.PR})

    def mknod(
        self, parent: int, name: bytes, mode: int, uid: int, gid: int, now: int, rdev: int = 0
    ) -> Task[Attributes]:
        """A file of the type in `mode`: regular (also 0), fifo, socket, device. Raises EEXIST, ENOSPC, ENAMETOOLONG."""
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        if kind in (stat.S_IFDIR, stat.S_IFLNK) or not 0 <= rdev < 1 << 64:
            return _refuse(f"the mode {mode:o} with the device {rdev}")
        return self._create(parent, name, kind | mode & _PERMISSIONS, uid, gid, now, rdev=rdev)

    def create(self, parent: int, name: bytes, mode: int, uid: int, gid: int, now: int) -> Task[Attributes]:
        """A regular file. It is not open yet. Raises as `mknod`."""
        return self._create(parent, name, stat.S_IFREG | mode & _PERMISSIONS, uid, gid, now)

    def mkdir(self, parent: int, name: bytes, mode: int, uid: int, gid: int, now: int) -> Task[Attributes]:
        """Raises as `mknod`, and EMLINK."""
        return self._create(parent, name, stat.S_IFDIR | mode & _PERMISSIONS, uid, gid, now)

    def symlink(self, parent: int, name: bytes, target: bytes, uid: int, gid: int, now: int) -> Task[Attributes]:
        """Raises as `mknod`."""
        return self._create(parent, name, stat.S_IFLNK | 0o777, uid, gid, now, target=target)

    def _create(
        self,
        parent: int,
        name: bytes,
        mode: int,
        uid: int,
        gid: int,
        now: int,
        rdev: int = 0,
        target: bytes = b"",
    ) -> Task[Attributes]:
        return self._attributes(
            lambda op: tree.create(op, parent, name, mode, uid, gid, now, rdev=rdev, target=target),
            {_key(parent): Mode.EX},
        )

    def link(self, inode: int, parent: int, name: bytes, now: int) -> Task[Attributes]:
        """One more name. Raises EEXIST, EPERM (a directory), EMLINK, ENOSPC."""
        wants = {_key(inode): Mode.EX, _key(parent): Mode.EX}
        return self._attributes(lambda op: tree.link(op, inode, parent, name, now), wants)

    def unlink(self, parent: int, name: bytes, now: int) -> Task[None]:
        """Raises ENOENT, EISDIR. Who has it open on any node goes on reading and writing it."""
        return self._run(lambda op: tree.unlink(op, parent, name, now), {_key(parent): Mode.EX})

    def rmdir(self, parent: int, name: bytes, now: int) -> Task[None]:
        """Raises ENOENT, ENOTDIR, ENOTEMPTY."""
        return self._run(lambda op: tree.rmdir(op, parent, name, now), {_key(parent): Mode.EX})

    def rename(self, old_parent: int, old: bytes, new_parent: int, new: bytes, flags: int, now: int) -> Task[None]:
        """flags: 0, RENAME_NOREPLACE (1), RENAME_EXCHANGE (2). Atomic, whatever it replaces. Raises as renameat2."""
        wants: dict[Key, Mode] = {_key(old_parent): Mode.EX, _key(new_parent): Mode.EX}
        return self._run(lambda op: tree.rename(op, old_parent, old, new_parent, new, flags, now), wants)

    def readdir(self, inode: int) -> Task[list[tuple[bytes, int, int]]]:
        """All entries, with "." and "..": name, inode, type as in d_type. Raises ENOTDIR."""

        def body(op: Operation) -> Task[list[tuple[bytes, int, int]]]:
            found = yield from op.live(inode, Mode.PR)
            if not found.is_directory:
                raise FsError(errno.ENOTDIR, f"inode {inode}")
            index = yield from names.index_of(op, found)
            kind = stat.S_IFDIR >> 12
            dots = [(b".", inode, kind), (b"..", found.parent, kind)]
            return dots + [(name, number, of) for name, (number, of, _) in index.names.items()]

        return self._run(body, {_key(inode): Mode.PR})

    def readlink(self, inode: int) -> Task[bytes]:
        """Where a symbolic link leads. Raises EINVAL."""

        def body(op: Operation) -> Task[bytes]:
            found = yield from op.live(inode, Mode.PR)
            if not found.is_symlink:
                raise FsError(errno.EINVAL, f"inode {inode} is no symbolic link")
            return found.target

        return self._run(body, {_key(inode): Mode.PR})

    # -- inodes

    def keep(self, inode: int, number: int) -> bool:
        """Whether what was just now found of that inode stays true until `on_forget` is called with `number`, but for
        what this node changes itself. No other task may have run since it was found.
        """
        guard = self._place.guards.find(_key(inode))
        if guard is None or not guard.allows(Mode.PR) or self._place.guards.forget is None:
            return False
        guard.known_as = number
        return True

    def on_forget(self, forget: Callable[[int], None]) -> None:
        """Who is told when what he was told to `keep` may change: at once, before another node can change it."""
        self._place.guards.forget = forget

    def getattr(self, inode: int) -> Task[Attributes]:
        """Raises ESTALE for an inode that has been deleted."""
        return self._attributes(lambda op: op.live(inode, Mode.PR), {_key(inode): Mode.PR})

    def setattr(
        self,
        inode: int,
        now: int,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        atime: int | None = None,
        mtime: int | None = None,
    ) -> Task[Attributes]:
        """Change what is not None, at once; the size too (`truncate`). Raises EISDIR, EINVAL, EFBIG."""

        def body(op: Operation) -> Task[Any]:
            found = yield from op.live(inode, Mode.EX)
            if size is not None:
                yield from contents.regular(op, inode, Mode.EX)
                if size < 0:
                    raise FsError(errno.EINVAL, f"size {size}")
                yield from contents.resize(op, found, size)
                found.mtime = now
            if mode is not None:
                found.mode = stat.S_IFMT(found.mode) | mode & _PERMISSIONS
            found.uid = found.uid if uid is None else uid & 0xFFFFFFFF
            found.gid = found.gid if gid is None else gid & 0xFFFFFFFF
            found.atime = found.atime if atime is None else atime
            found.mtime = found.mtime if mtime is None else mtime
            found.ctime = now
            op.touch(found)
            return found

        return self._attributes(body, {_key(inode): Mode.EX})

    def open(self, inode: int) -> Task[None]:
        """From now on the inode stays until it is released, also without a name. Raises ESTALE."""
        return self._run(lambda op: lifetimes.begin_use(op, inode), {_key(inode): Mode.PR})

    def release(self, inode: int) -> Task[None]:
        """The opposite of one `open`."""
        orphan = yield from self._run(lambda op: lifetimes.end_use(op, number_of(inode)), {_key(inode): Mode.PR})
        if orphan:
            yield from self._reap(inode)

    # -- contents

    def read(self, inode: int, offset: int, size: int) -> Task[bytes]:
        """At most `size` bytes; fewer at the end of the file. Raises EISDIR, EINVAL."""
        if offset < 0 or size < 0:
            return _refuse(f"{size} bytes from {offset}")
        return self._run(lambda op: contents.read(op, inode, offset, size), {_key(inode): Mode.PR})

    def write(self, inode: int, offset: int, data: bytes, now: int) -> Task[int]:
        """How much was written: all, or fewer where the disk was full then. Raises ENOSPC, EFBIG, EISDIR, EINVAL."""
        if offset < 0:
            raise FsError(errno.EINVAL, f"from {offset}")
        done, blocks = 0, contents.WRITE_BLOCKS_MAX
        while done < len(data):
            yield from self.journal.room()
            piece = bytes(data[done : done + blocks * BLOCK_SIZE - (offset + done) % BLOCK_SIZE])
            try:
                yield from self._write(inode, offset + done, piece, now)
            except FsError as why:
                if why.errno != errno.ENOSPC or (blocks == 1 and not done):
                    raise
                if blocks == 1:
                    break
                blocks //= 2  # there may be room for a part
            else:
                done += len(piece)
        return done

    def append(self, inode: int, data: bytes, now: int) -> Task[int]:
        """Write at the end of the file, wherever that is by then: in one piece, so nobody's bytes come between. How
        much was written: a mebibyte at most, fewer where the disk was full then. Raises as `write`.
        """
        blocks = contents.WRITE_BLOCKS_MAX
        while True:
            yield from self.journal.room()
            piece = bytes(data[: blocks * BLOCK_SIZE])
            try:
                yield from self._write(inode, None, piece, now)
            except FsError as why:
                if why.errno != errno.ENOSPC or blocks == 1:
                    raise
                blocks = max(1, min(blocks, -(-len(piece) // BLOCK_SIZE)) // 2)
            else:
                return len(piece)

    def _write(self, inode: int, offset: int | None, data: bytes, now: int) -> Task[None]:
        run = self._run(lambda op: contents.write(op, inode, offset, data, now), {_key(inode): Mode.EX})
        return self._written(run)

    def _written(self, task: Task[None]) -> Task[None]:
        yield from task
        if self.journal.wants_write_back:
            self._start(self.journal.write_back())

    def fsync(self, inode: int) -> Task[None]:
        """All that was changed in it, by this node or another, is on the medium when it ends. Raises EIO."""
        yield from self._run(lambda op: op.live(inode, Mode.PR), {_key(inode): Mode.PR})  # others write theirs back
        yield from self.journal.save(_key(inode))
        if self.journal.is_to_be_put_in_place:
            self._start(self.journal.put_in_place())

    def sync(self) -> Task[None]:
        """Everything that this node has changed is on the medium when it ends. To be called every few seconds.

        Also looks again at files without a name, of which somebody may have closed the last one meanwhile.
        """
        if self.failed is not None:
            raise FsError(errno.EIO, self.failed)
        yield from self.journal.commit()
        yield from self.journal.put_in_place()
        place = self._place
        if place.reaps_left:
            place.reaps_left -= 1
            if not (yield from self.reap()):
                place.reaps_left = 0
        elif place.unsure:
            place.unsure = False
            for inode in (yield from self._orphans(place.slot)):
                yield from self._reap(inode)

    # -- locks of programs

    def flock(self, inode: int, owner: int, kind: int, wait: bool, call: Call | None = None) -> Task[None]:
        """Lock the whole file. kind: READ, WRITE or UNLOCK. Raises EAGAIN; EINTR after `interrupt_lock`, or when that
        call is interrupted.
        """
        if kind not in _EXCLUSIVE:
            return _refuse(f"the kind {kind} of a lock")
        exclusive = _EXCLUSIVE[kind]
        return self._pinned(inode, lambda guard: self._locks.flock(guard, owner, exclusive, wait=wait, call=call))

    def lock(
        self, inode: int, owner: int, kind: int, start: int, end: int, wait: bool, call: Call | None = None
    ) -> Task[None]:
        """Lock the bytes from `start` to `end`, that one too; TO_THE_END: whatever there is. As fcntl: what the owner
        had there is replaced. Raises EAGAIN, EDEADLK, EINVAL; EINTR as `flock`.
        """
        if kind not in _EXCLUSIVE or not 0 <= start <= end <= TO_THE_END:
            return _refuse(f"the kind {kind} of a lock of the bytes {start} to {end}")
        exclusive, after = _EXCLUSIVE[kind], _after(end)
        return self._pinned(
            inode, lambda guard: self._locks.lock(guard, owner, start, after, exclusive, wait=wait, call=call)
        )

    def test_lock(self, inode: int, owner: int, kind: int, start: int, end: int) -> Task[bool]:
        """Whether `lock` would succeed at once. Who is in the way, `holder` may know."""
        if kind not in (READ, WRITE) or not 0 <= start <= end <= TO_THE_END:
            return _refuse(f"the kind {kind} of a lock of the bytes {start} to {end}")
        exclusive, after = kind == WRITE, _after(end)
        return self._pinned(inode, lambda guard: self._locks.is_free(guard, owner, start, after, exclusive=exclusive))

    def holder(self, inode: int, owner: int, kind: int, start: int, end: int) -> tuple[int, int, int, int] | None:
        """Who on this node keeps that owner from locking these bytes: owner, kind, first and last byte; or None."""
        found = self._locks.in_the_way(_key(inode), owner, start, _after(end), exclusive=kind == WRITE)
        if found is None:
            return None
        number, (first, after, exclusive) = found
        return number, WRITE if exclusive else READ, first, TO_THE_END if after == ranges.END else after - 1

    def interrupt_lock(self, inode: int, owner: int) -> Task[None]:
        """What that owner waits for in `flock` or `lock` ends with EINTR, if it does not end otherwise just now."""
        return self._locks.interrupt(_key(inode), owner)

    def _pinned(self, inode: int, call: Callable[[Guard], Task[_T]]) -> Task[_T]:
        """The inode's own lock stays, if only in NL, while locks below it are asked for or held."""

        def pin(op: Operation) -> Task[Guard]:
            found = yield from op.live(inode, Mode.PR)
            guard = yield from op.guard((INODE, found.number), Mode.PR)
            guard.pins += 1
            return guard

        def both() -> Task[_T]:
            guard = yield from self._run(pin, {_key(inode): Mode.PR})
            try:
                result = yield from call(guard)
            finally:
                guard.locked = self._locks.uses(guard.key)
                guard.pins -= 1
            return result

        return self._place.count(both())

    # -- the whole

    def statfs(self) -> Task[Space]:
        """Free blocks, as this node knows them: other nodes may have changed them. Takes no lock."""
        return self._place.count(self._statfs())

    def _statfs(self) -> Task[Space]:
        superblock, place = self.superblock, self._place
        free = 0
        for group in range(superblock.groups):
            start, size = superblock.group_start(group), superblock.group_size(group)
            guard = place.guards.find((GROUP, group))
            body = None if guard is None else guard.blocks.get(start)
            if body is None:
                body = yield from self._read_unlocked(start)
            try:
                used = bitmap.decode(group, size, body)
            except Damaged as why:
                raise FsError(errno.EIO, str(why)) from why
            free += size - (used & bitmap.mask(0, size)).bit_count()
        return Space(BLOCK_SIZE, superblock.blocks, free, NAME_SIZE_MAX)

    def _read_unlocked(self, start: int) -> Task[bytes]:
        """A bitmap that another node may be writing just now, so that it is torn: then it is read once more."""
        tries = 3
        while True:
            try:
                return (yield from self.blocks.read_body(self.superblock.uuid, Kind.BITMAP, start))
            except (Damaged, DiskError) as why:
                tries -= 1
                if not tries:
                    raise FsError(errno.EIO, str(why)) from why

    def reap_later(self) -> None:
        """Somebody died, perhaps with files open: whether they are is known when his locks are let go, some `sync`
        from now."""
        self._place.reaps_left = REAPS_AFTER_DEATH

    def reap(self) -> Task[int]:
        """Delete all orphans that nobody has open; how many are left."""
        left = 0
        for slot in range(self.superblock.slots):
            for inode in (yield from self._orphans(slot)):
                yield from self._reap(inode)
            left += len((yield from self._orphans(slot)))
        return left

    def _orphans(self, slot: int) -> Task[list[int]]:
        return self._run(lambda op: lifetimes.listed_orphans(op, slot), {(ORPHANS, slot): Mode.PR})

    def _reap(self, inode: int) -> Task[None]:
        return self._run(lambda op: lifetimes.reap(op, number_of(inode)), {_key(inode): Mode.EX})

    def unmount(self) -> Task[None]:
        """Write everything back, and give all locks up. Calls that come later raise ESHUTDOWN. Raises EIO."""
        self._place.closing = True
        yield from self._locks.interrupt_all()
        yield from self._place.idle()
        yield from self._locks.release_all()
        yield from self._place.guards.lower_all()
        yield from self.journal.close()
        for lock in self._held:
            yield Release(lock)

    # -- inner workings

    def _run(self, body: Callable[[Operation], Task[_T]], wants: dict[Key, Mode]) -> Task[_T]:
        return self._place.run(body, wants)

    def _attributes(self, body: Callable[[Operation], Task[Any]], wants: dict[Key, Mode]) -> Task[Attributes]:
        def told(op: Operation) -> Task[Attributes]:
            return attributes.of((yield from body(op)))

        return self._place.run(told, wants)
