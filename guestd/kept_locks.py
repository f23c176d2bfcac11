"""For programs that take the same locks again and again: a lock that is released stays with the program until somebody
else wants it (spec S7.1; docs/dlm.md).

    with KeptLocks() as locks:
        lock = locks.acquire("printer", mode="EX")
        ...
        locks.release(lock)

To all others it is as if it were held: who wants it in a mode that does not go with it waits until this program has
been told, and has given it up. A thread of this module sees to that, also while the program does something else; not
while it is stopped, or keeps the interpreter to itself. When the program ends its locks are given up, as with `Locks`;
also what it only kept in PW or EX counts as held.
"""

from __future__ import annotations

import select
import threading

from guestd.connection import PATH, ClientError
from guestd.locks import LockLost, Locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

KEPT_MAX = 256
"""More than that are not kept: the one that was released first is given up."""


class _GivingLocks(Locks):
    """Gives up what is kept, whenever it hears that somebody wants it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.kept: dict[tuple[str, ...], tuple[int, str]] = {}  # name -> lock and mode
        self._names: dict[int, tuple[str, ...]] = {}  # lock -> name, of those that are kept
        self._leaving: dict[int, None] = {}  # locks that are being given up: nobody waits for the answer

    def keep(self, lock: int, name: tuple[str, ...], mode: str) -> None:
        """Nobody uses that one now."""
        self.kept[name] = lock, mode
        self._names[lock] = name
        if len(self.kept) > KEPT_MAX:
            self._give_up(next(iter(self._names)))

    def use(self, name: tuple[str, ...]) -> tuple[int, str] | None:
        """The lock of that name which is kept, and its mode."""
        found = self.kept.pop(name, None)
        if found is not None:
            del self._names[found[0]]
        return found

    def is_wanted(self, lock: int) -> bool:
        """Whether somebody waits for it; asked once, by who gives it up then."""
        wanted = [one for one in self._wanted if one.lock == lock]
        self._wanted = [one for one in self._wanted if one.lock != lock]
        return bool(wanted)

    def serve(self) -> None:
        """Take what guestd has said. Raises LockLost, Disconnected."""
        while True:
            try:
                kind, told = self._next(0)
            except TimeoutError:
                return
            if kind == "gone":
                raise LockLost(f"lock {told['id']} is gone: this node has left the cluster")

    def _next(self, timeout_s: float | None) -> tuple[str, dict[str, Any]]:
        while True:
            kind, told = super()._next(timeout_s)
            number = told.get("id", 0)
            if kind == "blocks" and number in self._names:
                self._give_up(number)
            elif number in self._leaving and kind in ("gone", "lock-error"):
                del self._leaving[number]
            else:
                return kind, told

    def _give_up(self, lock: int) -> None:
        del self.kept[self._names.pop(lock)]
        self.values.pop(lock, None)
        self._leaving[lock] = None
        self._connection.send(unlock={"id": lock, "value": None})


class KeptLocks:
    """The locks of one program, on resources that are not below others; not for several threads at once."""

    def __init__(self, path: str = PATH) -> None:
        """Raises OSError if there is no guestd."""
        self._locks = _GivingLocks(path)
        self._used: dict[int, tuple[tuple[str, ...], str]] = {}  # lock -> name and mode
        self._mutex = threading.Lock()
        self._noticed = False  # guestd may have said something
        self._why: ClientError | None = None  # nothing is left
        self._closed = False
        threading.Thread(target=self._watch, name="kept locks", daemon=True).start()

    def acquire(self, name: str, *, mode: str, noqueue: bool = False, timeout_s: float | None = None) -> int:
        """A lock, once it is granted; its number. At once if it was kept. Raises as `Locks.acquire`."""
        key = (name,)
        with self._mutex:
            self._check()
            found = self._locks.use(key)
            if found is None:
                lock = self._locks.acquire(name, mode=mode, noqueue=noqueue, timeout_s=timeout_s)
            else:
                lock, held = found
                if held != mode:
                    self._convert(lock, key, held, mode, noqueue=noqueue, timeout_s=timeout_s)
            self._used[lock] = key, mode
        return lock

    def value(self, lock: int) -> bytes | None:
        """The value block, as `Locks.values` has it; nobody has written it since if the mode was PR, PW or EX."""
        return self._locks.values[lock]

    def release(self, lock: int, *, value: bytes | None = None) -> None:
        """It is not used any more. It is given up at once if somebody waits for it, or a value is left. Raises as
        `Locks.release`."""
        with self._mutex:
            self._check()
            key, mode = self._used[lock]
            if value is not None or key in self._locks.kept or self._locks.is_wanted(lock):
                self._locks.release(lock, value=value)
            else:
                self._locks.keep(lock, key, mode)
            del self._used[lock]

    def kept(self) -> list[str]:
        """Names of the locks that are kept now."""
        with self._mutex:
            return [name for (name,) in self._locks.kept]

    def close(self) -> None:
        """All locks are given up."""
        with self._mutex:
            self._closed = True
            self._locks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inner workings

    def _check(self) -> None:
        if self._noticed and self._why is None:
            # Who acquires and releases without a pause would never let the thread have its turn.
            self._noticed = False
            self._serve()
        if self._why is not None:
            raise self._why

    def _convert(
        self, lock: int, key: tuple[str, ...], held: str, mode: str, *, noqueue: bool, timeout_s: float | None
    ) -> None:
        try:
            self._locks.convert(lock, mode, noqueue=noqueue, timeout_s=timeout_s)
        except BaseException:
            self._locks.release(lock)  # after an acquire that failed there is no lock
            raise

    def _serve(self) -> None:
        try:
            self._locks.serve()
        except ClientError as why:
            self._why = why

    def _watch(self) -> None:
        """The thread."""
        readable = select.poll()
        readable.register(self._locks.fileno(), select.POLLIN)
        while True:
            readable.poll()
            self._noticed = True
            with self._mutex:
                if self._closed or self._why is not None:
                    return
                if self._noticed:
                    self._noticed = False
                    self._serve()
