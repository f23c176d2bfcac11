"""The locks of this node: taken for operations, kept afterwards, given up when another node wants them.

Operations take guards in the order of their keys (`take`), or one out of order if nobody is in the way at once
(`try_take`); so they wait in no circle, on one node or several. A notice that somebody waits becomes a task that takes
the guard like an operation, saves what was changed under it (`Journal.settle`), forgets what is cached, and lowers it.
"""

from __future__ import annotations

from guestd.dlm.messages import Reason
from guestd.dlm.modes import Mode, are_compatible
from guestd.sfs.errors import FsError
from guestd.sfs.guard import Guard
from guestd.sfs.keys import name_of, owner_of
from guestd.tasks.steps import Acquire, Convert, Refused, Release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.dlm.notices import Blocks
    from guestd.sfs.journal import Journal
    from guestd.sfs.keys import Key
    from guestd.tasks.steps import Held, Task

KEPT_MAX = 2000
"""Guards that are kept; beyond that the ones that were not used for longest are given up."""
PAGES_MAX = 512
"""Blocks of contents that one guard caches (2 MiB)."""
ALL_PAGES_MAX = 4096
"""And all together (16 MiB)."""


class Guards:
    """All of one mounted file system."""

    __slots__ = ("_journal", "_pages", "_shrinking", "_start", "_table", "_uses", "_uuid", "forget")

    def __init__(self, uuid: bytes, journal: Journal, start: Callable[[Task[Any]], None]) -> None:
        """start: begins a task of its own."""
        self._uuid = uuid
        self._journal = journal
        self._start = start
        self._table: dict[Key, Guard] = {}
        self._uses = 0
        self._pages = 0
        self._shrinking = False
        self.forget: Callable[[int], None] | None = None  # told what was `known_as`, before another node may change it

    def find(self, key: Key) -> Guard | None:
        """What is known of it, without taking it."""
        return self._table.get(key)

    def take(self, key: Key, mode: Mode) -> Task[Guard]:
        """Until it is the caller's, in that mode or a stronger one."""
        guard = self._of(key)
        yield from guard.mutex.take()
        try:
            while not guard.allows(mode):
                yield from self._raise(guard, mode)
        except Exception:
            self.give(guard)
            raise
        return guard

    def try_take(self, key: Key, mode: Mode) -> Task[Guard | None]:
        """The guard, if nobody is in the way."""
        guard = self._of(key)
        if not guard.mutex.try_take():
            return None
        try:
            if not guard.allows(mode):
                self._hold(guard, (yield self._step(guard, mode, noqueue=True)))
        except Refused:
            self.give(guard)
            return None
        return guard

    def give(self, guard: Guard) -> None:
        """An operation needs it no more."""
        if guard.pages.count > PAGES_MAX:
            self._forget_pages(guard, guard.pages.count // 2)
        self._pages += guard.pages.count - guard.counted
        guard.counted = guard.pages.count
        guard.mutex.give()
        if self._pages > ALL_PAGES_MAX:
            self._forget_oldest()
        if guard.number is None and not guard.mutex.busy:
            self._table.pop(guard.key, None)
        if len(self._table) > KEPT_MAX and not self._shrinking:
            self._shrinking = True
            self._start(self._shrink())

    def lower_all(self) -> Task[None]:
        """Give everything up; nobody uses anything any more."""
        for key in sorted(self._table, reverse=True):
            guard = self._table.get(key)
            if guard is None:
                continue
            yield from guard.mutex.take()
            try:
                guard.opens, guard.pins, guard.locked = 0, 0, False
                for part in list(guard.children):
                    yield Release(guard.children.pop(part))
                yield from self._lower(guard, Mode.NL)
            finally:
                self.give(guard)

    # -- inner workings

    def _of(self, key: Key) -> Guard:
        guard = self._table.get(key)
        if guard is None:
            guard = self._table[key] = Guard(key)
        self._uses += 1
        guard.used = self._uses
        return guard

    def _hold(self, guard: Guard, held: Held) -> None:
        guard.number, guard.mode = held.number, held.mode

    def _step(self, guard: Guard, mode: Mode, *, noqueue: bool) -> Acquire | Convert:
        if guard.number is not None:
            return Convert(guard.number, mode, noqueue=noqueue)
        name = (name_of(self._uuid, guard.key),)

        def wanted(notice: Blocks) -> None:
            self._start(self._yield(guard, notice.mode))

        return Acquire(owner_of(guard.key), name, mode, noqueue=noqueue, on_blocks=wanted)

    def _raise(self, guard: Guard, mode: Mode) -> Task[None]:
        """One try. From PR there is no waiting for EX: of two nodes that do, none would ever get it."""
        noqueue = guard.number is not None and guard.mode is not Mode.NL
        try:
            self._hold(guard, (yield self._step(guard, mode, noqueue=noqueue)))
        except Refused as why:
            if why.reason is Reason.DEADLOCK:
                return  # cannot be for long: operations wait in no circle
            if not noqueue:
                raise
            yield from self._lower(guard, Mode.NL, keep=True)

    def _yield(self, guard: Guard, wanted: Mode) -> Task[None]:
        """Make room for another node."""
        yield from guard.mutex.take()
        try:
            if guard.number is not None and not are_compatible(guard.mode, wanted):
                yield from self._lower(guard, Mode.PR if are_compatible(Mode.PR, wanted) else Mode.NL)
        except FsError:
            pass  # what was changed under it is not saved, so nobody may have it: see Journal.on_failure
        finally:
            self.give(guard)

    def _lower(self, guard: Guard, mode: Mode, *, keep: bool = False) -> Task[None]:
        """keep: the lock itself, in NL."""
        if guard.number is None:
            return
        if guard.mode is Mode.EX:
            yield from self._journal.settle(guard.key)
        if mode is Mode.NL:
            guard.drop()
            if guard.known_as is not None and self.forget is not None:
                self.forget(guard.known_as)
            guard.known_as = None
        if mode is Mode.NL and not keep and not guard.is_pinned:
            yield Release(guard.number)
            guard.number, guard.mode = None, Mode.NL
        elif guard.mode is not mode:
            self._hold(guard, (yield Convert(guard.number, mode)))

    def _forget_pages(self, guard: Guard, count: int) -> None:
        """Those that were cached first, and are written."""
        dirty, left = self._journal.dirty, guard.pages.count - count
        for run in guard.pages.all():
            if guard.pages.count <= left:
                return
            if not dirty.across(run.first, run.end):
                guard.pages.remove(run)

    def _forget_oldest(self) -> None:
        for guard in sorted(self._table.values(), key=lambda one: one.used):
            if guard.counted and not guard.mutex.busy:
                self._forget_pages(guard, guard.pages.count)
                self._pages += guard.pages.count - guard.counted
                guard.counted = guard.pages.count
            if self._pages < ALL_PAGES_MAX // 2:
                return

    def _shrink(self) -> Task[None]:
        idle = [one for one in self._table.values() if not one.mutex.busy and not one.is_pinned]
        for guard in sorted(idle, key=lambda one: one.used)[: max(1, KEPT_MAX // 10)]:
            yield from guard.mutex.take()
            try:
                yield from self._lower(guard, Mode.NL)
            except FsError:
                pass  # as in `_yield`
            finally:
                self.give(guard)
        self._shrinking = False
