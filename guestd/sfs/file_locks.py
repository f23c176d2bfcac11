"""Locks that programs put on files: `flock` on the whole file, `fcntl` on ranges of bytes. Cluster-wide, advisory.

Both are locks of the lock manager below that of the inode, one for each owner and, of ranges, for each node of the tree
of `ranges.py`. So whoever holds what is known to nobody but the lock manager: when a node dies its locks go with it,
and a circle of owners that wait for each other is found by its search (EDEADLK).

What an owner has changes in two steps: first up, to what it has and what it wants, from the root of the tree down; when
all that is granted, down to what it wants. If something is refused it goes back to what it had.
"""

from __future__ import annotations

import errno

from guestd.dlm.messages import Reason
from guestd.dlm.modes import Mode
from guestd.sfs.errors import FsError
from guestd.sfs.keys import name_of
from guestd.sfs.mutex import Mutex
from guestd.sfs.ranges import both, change, needed
from guestd.tasks.steps import Acquire, Cancel, Convert, Refused, Release, Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.names import Name
    from guestd.sfs.guard import Guard
    from guestd.sfs.keys import Key
    from guestd.sfs.ranges import Segment
    from guestd.tasks.steps import Held, Task

_FLOCK = b"flock"
_RANGE = b"range"


class Call:
    """One call of `flock` or `lock`, for who may want to end its waiting."""

    __slots__ = ("_leave", "interrupted", "lock", "turn")

    def __init__(self) -> None:
        self.interrupted = False
        self.lock: int | None = None  # for which it waits
        self.turn = Signal()  # with which it waits until another call of its owner has ended
        self._leave: Mutex | None = None

    def interrupt(self) -> Task[None]:
        """It ends with EINTR when it waits for a lock, or comes to; unless it ends otherwise just now."""
        self.interrupted = True
        if self._leave is not None:
            self._leave.leave(self.turn)
        if self.lock is not None:
            yield Cancel(self.lock)

    def begin(self, mutex: Mutex) -> Task[None]:
        """Until no other call of its owner is under way. Raises FsError (EINTR)."""
        self._leave = mutex
        taken = not self.interrupted and (yield from mutex.take(self.turn))
        self._leave = None
        if not taken:
            raise FsError(errno.EINTR)


class Owner:
    """What one owner has of one file, by `flock` or by ranges."""

    __slots__ = ("call", "held", "mutex", "number", "segments")

    def __init__(self, number: int) -> None:
        self.number = number
        self.mutex = Mutex()  # one call at a time
        self.held: dict[bytes, tuple[int, Mode]] = {}  # part of the name -> lock, mode
        self.segments: list[Segment] = []
        self.call: Call | None = None  # the one that is under way


class FileLocks:
    """Of one mounted file system. Whoever calls keeps the inode's own lock from being released meanwhile."""

    __slots__ = ("_closing", "_owners", "_uuid")

    def __init__(self, uuid: bytes) -> None:
        self._closing = False
        self._uuid = uuid
        self._owners: dict[tuple[int, bytes, int], Owner] = {}  # inode, kind, owner

    def flock(
        self, guard: Guard, number: int, exclusive: bool | None, *, wait: bool, call: Call | None = None
    ) -> Task[None]:
        """None: unlock. Raises FsError (EAGAIN, EINTR, EDEADLK; ESHUTDOWN when it is being unmounted)."""
        owner = yield from self._begin(guard.key, _FLOCK, number, call or Call())
        wanted = {} if exclusive is None else {_FLOCK: Mode.EX if exclusive else Mode.PR}
        try:
            if owner.held and exclusive and wait:
                # As Linux does it: who cannot change a shared lock at once loses it before it waits. So of two that try
                # one gets it, where conversions would wait for each other.
                try:
                    yield from self._change(guard, owner, wanted, wait=False)
                except FsError as why:
                    if why.errno != errno.EAGAIN:
                        raise
                    yield from self._change(guard, owner, {}, wait=False)
            yield from self._change(guard, owner, wanted, wait=wait)
        finally:
            self._end(guard.key, _FLOCK, owner)

    def lock(
        self,
        guard: Guard,
        number: int,
        start: int,
        end: int,
        exclusive: bool | None,
        *,
        wait: bool,
        call: Call | None = None,
    ) -> Task[None]:
        """These bytes, `end` not among them. None: unlock. Raises as `flock`."""
        owner = yield from self._begin(guard.key, _RANGE, number, call or Call())
        try:
            segments = change(owner.segments, start, end, exclusive)
            yield from self._change(guard, owner, _parts(segments), wait=wait)
            owner.segments = segments
        finally:
            self._end(guard.key, _RANGE, owner)

    def is_free(self, guard: Guard, number: int, start: int, end: int, *, exclusive: bool) -> Task[bool]:
        """Whether that owner would get these bytes now."""
        owner = yield from self._begin(guard.key, _RANGE, number, Call())
        try:
            before = _parts(owner.segments)
            try:
                yield from self._change(guard, owner, _parts(change(owner.segments, start, end, exclusive)), wait=False)
            except FsError as why:
                if why.errno == errno.EAGAIN:
                    return False
                raise
            yield from self._change(guard, owner, before, wait=False)
            return True
        finally:
            self._end(guard.key, _RANGE, owner)

    def interrupt(self, key: Key, number: int) -> Task[None]:
        """What that owner waits for is given up: the call ends with EINTR."""
        for kind in (_FLOCK, _RANGE):
            owner = self._owners.get((key[1], kind, number))
            if owner is not None and owner.call is not None and owner.call.lock is not None:
                yield Cancel(owner.call.lock)

    def interrupt_all(self) -> Task[None]:
        """Nobody waits any more, from now on."""
        self._closing = True
        for owner in list(self._owners.values()):
            if owner.call is not None and owner.call.lock is not None:
                yield Cancel(owner.call.lock)

    def release_all(self) -> Task[None]:
        """The file system is being unmounted; nobody uses it."""
        for owner in self._owners.values():
            for lock, _ in owner.held.values():
                yield Release(lock)
        self._owners.clear()

    def in_the_way(self, key: Key, number: int, start: int, end: int, *, exclusive: bool) -> tuple[int, Segment] | None:
        """Another owner on this node, and the first of its ranges that excludes these bytes, `end` not among them."""
        found = [
            (segment, owner.number)
            for (inode, kind, _), owner in self._owners.items()
            if (inode, kind) == (key[1], _RANGE) and owner.number != number
            for segment in owner.segments
            if segment[0] < end and start < segment[1] and (exclusive or segment[2])
        ]
        return min(found)[::-1] if found else None

    def uses(self, key: Key) -> bool:
        """Whether anything of that inode is locked, or waited for."""
        return any(inode == key[1] for inode, _, _ in self._owners)

    # -- inner workings

    def _begin(self, key: Key, kind: bytes, number: int, call: Call) -> Task[Owner]:
        owner = self._owners.get((key[1], kind, number))
        if owner is None:
            owner = self._owners[key[1], kind, number] = Owner(number)
        try:
            yield from call.begin(owner.mutex)
        except FsError:
            self._forget_idle(key, kind, owner)
            raise
        owner.call = call
        return owner

    def _end(self, key: Key, kind: bytes, owner: Owner) -> None:
        owner.call = None
        owner.mutex.give()
        self._forget_idle(key, kind, owner)

    def _forget_idle(self, key: Key, kind: bytes, owner: Owner) -> None:
        if not owner.held and not owner.mutex.busy:
            self._owners.pop((key[1], kind, owner.number), None)

    def _change(self, guard: Guard, owner: Owner, wanted: dict[bytes, Mode], *, wait: bool) -> Task[None]:
        before = {part: mode for part, (_, mode) in owner.held.items()}
        try:
            for part in sorted(wanted):  # above before below
                had = before.get(part, Mode.NL)
                if both(had, wanted[part]) is not had:
                    yield from self._raise(guard, owner, part, both(had, wanted[part]), wait=wait)
        except Refused as why:
            yield from self._lower(owner, before)
            if self._closing:  # whatever it was refused for: nobody gets a lock any more
                raise FsError(errno.ESHUTDOWN, "it is being unmounted") from why
            number = {Reason.AGAIN: errno.EAGAIN, Reason.CANCELLED: errno.EINTR, Reason.DEADLOCK: errno.EDEADLK}
            raise FsError(number[why.reason]) from why
        yield from self._lower(owner, wanted)

    def _raise(self, guard: Guard, owner: Owner, part: bytes, mode: Mode, *, wait: bool) -> Task[None]:
        call = owner.call
        assert call is not None, "it is under way"

        def asked(lock: int) -> None:
            call.lock = lock

        step: Acquire | Convert
        if wait and call.interrupted:
            raise Refused(Reason.CANCELLED, None)
        wait = wait and not self._closing
        if part in owner.held:
            call.lock = owner.held[part][0]
            step = Convert(owner.held[part][0], mode, noqueue=not wait)
        else:
            name: Name = (name_of(self._uuid, guard.key), part)
            number = 31 << 56 | owner.number & (1 << 56) - 1
            step = Acquire(number, name, mode, parent=guard.number, noqueue=not wait, on_asked=asked)
        try:
            held: Held = yield step
        finally:
            call.lock = None
        owner.held[part] = (held.number, held.mode)

    def _lower(self, owner: Owner, wanted: dict[bytes, Mode]) -> Task[None]:
        for part in sorted(owner.held, reverse=True):
            lock, mode = owner.held[part]
            if part not in wanted:
                del owner.held[part]
                yield Release(lock)
            elif mode is not wanted[part]:
                held: Held = yield Convert(lock, wanted[part])
                owner.held[part] = (lock, held.mode)


def _parts(segments: list[Segment]) -> dict[bytes, Mode]:
    """The parts of the names, in an order in which what is above comes first."""
    return {
        _RANGE + bytes([depth]) + place.to_bytes(8, "big"): mode for (depth, place), mode in needed(segments).items()
    }
