"""What one event manager does with the database's file, one operation at a time (spec S9.1).

transaction: lock the file - read what is new - decide - append, on the medium - unlock
refresh:     read what is new
"""

from __future__ import annotations

import errno as _errno

from guestd.core.effects import Emit
from guestd.events.effects import AppendStore, LockStore, ReadStore, ReplaceStore, UnlockStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from guestd.core.value import Value
    from guestd.events.effects import Effect
    from guestd.events.inputs import StoreDone
    from guestd.services.database import Database

    Task = Generator[Callable[[int], "Effect"], StoreDone, None]

RETRY_MS = 1000  # after an operation that has failed
LOOK_MS = 5000  # between two looks at the file for which nobody has rung
PATIENCE_MS = 60_000  # with the shared file system, which has files of the dead to recover first, on a slow disk maybe
NO_DATABASE = (_errno.ENODEV, _errno.ENOTCONN)  # the shared file system is not mounted


class Writer:
    """Whom the transactions are made for."""

    def writes_as(self) -> tuple[int, int]:
        """Node and incarnation."""
        raise NotImplementedError

    def decide(self) -> dict[str, Any]:
        """What is to be changed. The file is locked, and the database as new as the file."""
        raise NotImplementedError

    def written(self, changed: bool) -> None:
        """What was decided is on the medium; or there was nothing to change."""
        raise NotImplementedError

    def not_written(self, errno: int) -> None:
        """What was decided is not."""
        raise NotImplementedError

    def not_begun(self, what: str, errno: int) -> None:
        """The file cannot be `what`, locked or read: nothing was decided."""
        raise NotImplementedError

    def applied(self) -> None:
        """The database is as new as the file; it may have changed."""
        raise NotImplementedError


class Transactions:
    """Of one event manager. Effects go into the list that is handed in."""

    def __init__(self, database: Database, effects: list[Value], writer: Writer) -> None:
        self.stale = True
        """The database may be older than the file: somebody has rung."""
        self.unavailable = False
        """There is no file now."""
        self._database = database
        self._effects = effects
        self._writer = writer
        self._task: Task | None = None
        self._tag = 0
        self._errno = 0  # of the last operation
        self._now_ms = 0
        self._retry_ms = 0
        self._looked_ms = 0
        self._began_ms = 0  # when the one that is under way began
        self._asked_ms = 0  # when its operation was asked for
        self._locks = False  # which is the one that waits for others' transactions

    def at(self, now_ms: int) -> None:
        """Before every input: its time."""
        self._now_ms = now_ms

    def tick(self) -> None:
        """A period has passed."""
        if self._now_ms - self._looked_ms >= LOOK_MS:
            self.stale = True

    @property
    def under_way(self) -> bool:
        """Whether there is one."""
        return self._task is not None

    @property
    def may_begin(self) -> bool:
        """Whether one may begin."""
        return self._task is None and self._now_ms >= self._retry_ms

    def is_kept_waiting(self, ms: int) -> bool:
        """Whether one has been under way for so long: that is others' work, if no operation takes too long.

        For as long as it likes somebody else may have the lock: whoever hangs with it costs its own node.
        """
        if self._task is None or self._now_ms - self._began_ms < ms:
            return False
        return self._locks or self._now_ms - self._asked_ms < PATIENCE_MS

    def write(self) -> None:
        """Begin a transaction."""
        self._begin(self._transaction())

    def refresh(self) -> None:
        """Begin to read what is new."""
        self._begin(self._refresh())

    def done(self, done: StoreDone) -> None:
        """An operation on the file has ended."""
        if done.tag == self._tag and self._task is not None:
            self._advance(done)

    def _transaction(self) -> Task:
        self._locks = True
        done = yield LockStore
        self._locks = False
        if self._has_failed(done):
            self._writer.not_begun("locked", done.errno)
            return
        if (yield from self._read()):
            yield from self._write()
        else:
            self._writer.not_begun("read", self._errno)
        yield UnlockStore
        self._writer.applied()

    def _write(self) -> Task:
        changes = self._writer.decide()
        if changes:
            done = yield from self._put_down(changes)
            if self._has_failed(done):
                self._writer.not_written(done.errno)
                return
        self._writer.written(bool(changes))

    def _put_down(self, changes: dict[str, Any]) -> Generator[Callable[[int], Effect], StoreDone, StoreDone]:
        """Write them; the database is what it is then."""
        database = self._database
        by = self._writer.writes_as()
        line = database.line(by, changes)
        replaces = database.identity == 0 or database.size > database.grown_size
        if not replaces:
            offset = database.size
            done = yield lambda tag: AppendStore(tag, offset, line)
            if done.errno == 0:
                database.take(database.identity, line)
            return done
        whole = database.whole(by) + line if database.number else line
        done = yield lambda tag: ReplaceStore(tag, whole)
        if done.errno == 0:
            database.take(done.identity, whole)
        return done

    def _refresh(self) -> Task:
        if (yield from self._read()):
            self._writer.applied()

    def _read(self) -> Generator[Callable[[int], Effect], StoreDone, bool]:
        """What is new in the file; whether it could be read."""
        self.stale = False
        self._looked_ms = self._now_ms
        database = self._database
        offset = database.size
        done = yield lambda tag: ReadStore(tag, offset)
        if done.errno == 0 and done.identity != database.identity and offset:
            done = yield lambda tag: ReadStore(tag, 0)
        if self._has_failed(done):
            return False
        if done.identity:
            database.take(done.identity, done.data)
        return True

    def _has_failed(self, done: StoreDone) -> bool:
        self._errno = done.errno
        self.unavailable = done.errno in NO_DATABASE
        if done.errno == 0:
            return False
        self._retry_ms = self._now_ms + RETRY_MS
        self.stale = True
        if not self.unavailable:
            name = _errno.errorcode.get(done.errno, str(done.errno))
            self._effects.append(Emit("database", {"failed": name}))
        return True

    def _begin(self, task: Task) -> None:
        self._task = task
        self._began_ms = self._now_ms
        self._advance(None)

    def _advance(self, done: StoreDone | None) -> None:
        assert self._task is not None, "it goes on"
        try:
            effect = self._task.send(done) if done is not None else next(self._task)
        except StopIteration:
            self._task = None
            return
        self._tag += 1
        self._asked_ms = self._now_ms
        self._effects.append(effect(self._tag))
