"""For programs that lock: the cluster's lock manager from outside guestd (spec S7.1; docs/dlm.md).

    with Locks() as locks:
        lock = locks.acquire("printer", mode="EX")
        ...
        locks.release(lock)

A lock is on a resource, whose name is one text or several, each below the one before; a lock below another one needs
that one (`parent`). Modes: NL, CR, CW, PR, PW, EX. When the program ends its locks are given up; when its node is
forced out, after what they protected was recovered; and when its node leaves they are gone, which is LockLost.
"""

from __future__ import annotations

from guestd.connection import PATH, ClientError, Connection
from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

VALUE_SIZE = 64


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
        self._last += 1
        asked: dict[str, Any] = {"id": self._last, "name": list(name), "mode": mode, "noqueue": noqueue}
        if parent is not None:
            asked["parent"] = parent
        self._connection.send(lock=asked)
        self._await(self._last, timeout_s)
        return self._last

    def convert(
        self, lock: int, mode: str, *, value: bytes | None = None, noqueue: bool = False, timeout_s: float | None = None
    ) -> None:
        """Another mode, once it is granted. value: 64 bytes left when PW or EX goes down. Raises as `acquire`, and then
        what was held is held as before."""
        asked = {"id": lock, "mode": mode, "noqueue": noqueue, "value": None if value is None else value.hex()}
        self._connection.send(convert=asked)
        self._await(lock, timeout_s)

    def release(self, lock: int, *, value: bytes | None = None) -> None:
        """Give it up; returns when it is gone. Raises LockRefused."""
        self._connection.send(unlock={"id": lock, "value": None if value is None else value.hex()})
        while (said := self._hear(lock, None))[0] != "gone":
            self._raise_refusal(said)
        self.values.pop(lock, None)

    def wanted(self, timeout_s: float | None = None) -> Wanted:
        """Who waits next for a lock of this program. Raises TimeoutError, LockLost."""
        while not self._wanted:
            kind, told = self._take(self._connection.read(timeout_s))
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
        self._raise_refusal((kind, told))
        if kind == "denied":
            raise LockDenied(told["reason"])
        self.values[lock] = bytes.fromhex(told["value"]) if told["valid"] else None

    def _hear(self, lock: int, timeout_s: float | None) -> tuple[str, dict[str, Any]]:
        """The next thing that is said of that lock, but that it is wanted."""
        while True:
            kind, told = self._take(self._connection.read(timeout_s))
            if kind == "gone" and lock != told["id"]:
                raise LockLost(f"lock {told['id']} is gone: this node has left the cluster")
            if kind != "blocks" and told.get("id") == lock:
                return kind, told

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
