"""For programs that lock: the cluster's lock manager from outside guestd (spec S7.1; docs/dlm.md).

    with Locks() as locks:
        lock = locks.acquire("printer", mode="EX")
        ...
        locks.release(lock)

A lock is on a resource, whose name is one text or several, each below the one before; a lock below another one needs
that one (`parent`). Modes: NL, CR, CW, PR, PW, EX. When the program ends its locks are given up; when its node is
forced out, after what they protected was recovered; and when its node leaves they are gone, which is LockLost. A value
block behind PW or EX is not valid after any of these: it holds what was left before.
"""

from __future__ import annotations

from guestd.connection import PATH, ClientError, Connection
from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self, TypeVar

    _T = TypeVar("_T")

VALUE_SIZE = 64
IN_FLIGHT_MAX = 64  # of the calls for many locks


class LockRefused(ClientError):
    """What was asked for cannot be done; says why, and what would be legal."""


class LockDenied(ClientError):
    """The lock was not granted; `reason`: again (not at once), cancelled or deadlock."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not granted: {reason}")
        self.reason = reason


class LockLost(ClientError):
    """The lock is gone: this node has left the cluster."""


class Wanted(Value):
    """Somebody waits for a lock of this program, and would have the resource in that mode."""

    lock: int
    mode: str


class Locks:
    """The locks of one program; not for several threads at once."""

    def __init__(self, path: str = PATH) -> None:
        """Raises OSError if there is no guestd."""
        self._connection = Connection(path)
        self._last = 0
        self._wanted: list[Wanted] = []
        self.values: dict[int, bytes | None] = {}
        """Of each lock the value block as it came with its mode; None: its last writer died, it may be old."""

    def acquire(
        self, *name: str, mode: str, parent: int | None = None, noqueue: bool = False, timeout_s: float | None = None
    ) -> int:
        """A new lock, once it is granted; its number. Raises LockDenied, LockRefused, TimeoutError.

        After these there is no such lock. noqueue: at once or not at all.
        """
        number, asked = self._new(name, mode, parent, noqueue=noqueue)
        self._connection.send_all([asked])
        self._await(number, timeout_s)
        return number

    def convert(
        self, lock: int, mode: str, *, value: bytes | None = None, noqueue: bool = False, timeout_s: float | None = None
    ) -> None:
        """Another mode, once it is granted. value: 64 bytes left when PW or EX goes down. Raises as `acquire`, and then
        what was held is held as before."""
        self._connection.send_all([_conversion(lock, mode, value, noqueue=noqueue)])
        self._await(lock, timeout_s)

    def release(self, lock: int, *, value: bytes | None = None) -> None:
        """Give it up; returns when it is gone. Raises LockRefused."""
        self._connection.send_all([_release(lock, value)])
        while (said := self._hear(lock, None))[0] != "gone":
            self._raise_refusal(said)
        self.values.pop(lock, None)

    # -- many locks at once: IN_FLIGHT_MAX are asked for before the first answer is waited for

    def acquire_all(
        self, names: Sequence[Sequence[str]], *, mode: str, parent: int | None = None, noqueue: bool = False
    ) -> list[int]:
        """A new lock for each name, as `acquire`; the numbers in their order. When one is not granted all others of
        them are given up, and what went wrong with the first one is raised."""
        numbers: list[int] = []
        for some in _chunks(names):
            asked = [self._new(name, mode, parent, noqueue=noqueue) for name in some]
            numbers += [number for number, _ in asked]
            self._connection.send_all([line for _, line in asked])
            try:
                self._gather([number for number, _ in asked])
            except (LockDenied, LockRefused):
                self.release_all([number for number in numbers if number in self.values])
                raise
        return numbers

    def convert_all(self, locks: Sequence[int], mode: str, *, noqueue: bool = False) -> None:
        """As `convert` for each. When one is not granted the others are converted all the same; what went wrong with
        the first one is raised at the end."""
        why: ClientError | None = None
        for some in _chunks(locks):
            self._connection.send_all([_conversion(lock, mode, None, noqueue=noqueue) for lock in some])
            try:
                self._gather(some)
            except (LockDenied, LockRefused) as one:
                why = why or one
        if why is not None:
            raise why

    def release_all(self, locks: Sequence[int]) -> None:
        """As `release` for each, and as `convert_all` when one is refused."""
        why: ClientError | None = None
        for some in _chunks(locks):
            self._connection.send_all([_release(lock, None) for lock in some])
            for lock, said in self._answers(some).items():
                try:
                    self._raise_refusal(said)
                except LockRefused as one:
                    why = why or one
                else:
                    self.values.pop(lock, None)
        if why is not None:
            raise why

    def wanted(self, timeout_s: float | None = None) -> Wanted:
        """Who waits next for a lock of this program. Raises TimeoutError, LockLost."""
        while not self._wanted:
            kind, told = self._next(timeout_s)
            if kind == "gone":
                raise LockLost(f"lock {told['id']} is gone: this node has left the cluster")
        return self._wanted.pop(0)

    def show(self) -> dict[str, Any]:
        """What this node's lock manager knows (`guestctl locks`)."""
        self._connection.send(show="locks")
        while "locks" not in (message := self._connection.read(None)):
            self._take(message)
        found: dict[str, Any] = message["locks"]
        return found

    def fileno(self) -> int:
        """Readable when there is something that was not read."""
        return self._connection.fileno()

    def close(self) -> None:
        """All locks are given up."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _await(self, lock: int, timeout_s: float | None) -> None:
        """Until it is granted."""
        try:
            kind, told = self._hear(lock, timeout_s)
        except TimeoutError:
            self._connection.send(cancel={"id": lock})
            kind, told = self._hear(lock, None)
            if kind == "lock-error":  # it was granted in that moment
                kind, told = self._hear(lock, 0)
            if kind != "granted":
                raise
        self._count(lock, (kind, told))

    def _count(self, lock: int, said: tuple[str, dict[str, Any]]) -> None:
        """What has been said of a request or a conversion. Raises LockDenied, LockRefused, LockLost."""
        self._raise_refusal(said)
        kind, told = said
        if kind == "denied":
            raise LockDenied(told["reason"])
        if kind == "gone":
            raise LockLost(f"lock {lock} is gone: this node has left the cluster")
        self.values[lock] = bytes.fromhex(told["value"]) if told["valid"] else None

    def _gather(self, locks: Sequence[int]) -> None:
        """Until all have been answered. Raises what went wrong with the first of them."""
        why: ClientError | None = None
        for lock, said in self._answers(locks).items():
            try:
                self._count(lock, said)
            except (LockDenied, LockRefused) as one:
                why = why or one
        if why is not None:
            raise why

    def _answers(self, locks: Sequence[int]) -> dict[int, tuple[str, dict[str, Any]]]:
        """The next thing that is said of each of those locks, but that it is wanted."""
        found: dict[int, tuple[str, dict[str, Any]]] = {}
        while len(found) < len(locks):
            kind, told = self._next(None)
            number: int = told.get("id", 0)
            if kind == "blocks" or (kind != "gone" and number not in locks):
                continue
            if number not in locks:
                raise LockLost(f"lock {number} is gone: this node has left the cluster")
            found[number] = kind, told
        return {lock: found[lock] for lock in locks}

    def _hear(self, lock: int, timeout_s: float | None) -> tuple[str, dict[str, Any]]:
        """The next thing that is said of that lock, but that it is wanted."""
        while True:
            kind, told = self._next(timeout_s)
            if kind == "gone" and lock != told["id"]:
                raise LockLost(f"lock {told['id']} is gone: this node has left the cluster")
            if kind != "blocks" and told.get("id") == lock:
                return kind, told

    def _next(self, timeout_s: float | None) -> tuple[str, dict[str, Any]]:
        """What guestd says next."""
        return self._take(self._connection.read(timeout_s))

    def _new(
        self, name: Sequence[str], mode: str, parent: int | None, *, noqueue: bool
    ) -> tuple[int, dict[str, dict[str, Any]]]:
        """A number, and the request."""
        self._last += 1
        asked: dict[str, Any] = {"id": self._last, "name": list(name), "mode": mode, "noqueue": noqueue}
        if parent is not None:
            asked["parent"] = parent
        return self._last, {"lock": asked}

    def _take(self, message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        ((kind, told),) = message.items()
        if kind == "error":
            raise LockRefused(told)
        if kind == "blocks":
            self._wanted.append(Wanted(told["id"], told["mode"]))
        return kind, told

    @staticmethod
    def _raise_refusal(said: tuple[str, dict[str, Any]]) -> None:
        kind, told = said
        if kind == "lock-error":
            raise LockRefused(told["why"])


def _conversion(lock: int, mode: str, value: bytes | None, *, noqueue: bool) -> dict[str, dict[str, Any]]:
    asked = {"id": lock, "mode": mode, "noqueue": noqueue, "value": None if value is None else value.hex()}
    return {"convert": asked}


def _release(lock: int, value: bytes | None) -> dict[str, dict[str, Any]]:
    return {"unlock": {"id": lock, "value": None if value is None else value.hex()}}


def _chunks(many: Sequence[_T]) -> list[Sequence[_T]]:
    return [many[first : first + IN_FLIGHT_MAX] for first in range(0, len(many), IN_FLIGHT_MAX)]
