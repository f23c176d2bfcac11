"""Commands of one session that have not finished: writes whose data is still on its way, and what a fault holds."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hil.scsi.command import Command
    from hil.scsi.iscsi.transfer import Transfer


class Task:
    """A command with what its answer needs: initiator task tag, LUN field and flags as sent, expected length in bytes.

    ``transfer`` exists while data of a write is on its way; ``solicited`` are the bytes of the session's budget it
    holds.
    """

    __slots__ = ("command", "edtl", "flags", "immediate", "itt", "lun_field", "solicited", "transfer")

    def __init__(self, command: Command, itt: int, lun_field: int, flags: int, edtl: int) -> None:
        self.command = command
        self.itt = itt
        self.lun_field = lun_field
        self.flags = flags
        self.edtl = edtl
        self.immediate = 0
        self.transfer: Transfer | None = None
        self.solicited = 0


class TaskSet:
    """Tasks by initiator task tag, and a budget of bytes that may be asked for with R2Ts at the same time.

    The budget bounds the memory of a session. Tasks that have to wait for it get their turn in order.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.by_itt: dict[int, Task] = {}
        self._budget_bytes = budget_bytes
        self._used_bytes = 0
        self._waiting: deque[tuple[Task, int]] = deque()

    def add(self, task: Task) -> None:
        """Its tag must not be in use."""
        self.by_itt[task.itt] = task

    def reserve(self, task: Task, wanted_bytes: int) -> bool:
        """Whether ``task`` may ask for data now; if not, ``remove`` of another returns it later."""
        if self._waiting or (self._used_bytes and self._used_bytes + wanted_bytes > self._budget_bytes):
            self._waiting.append((task, wanted_bytes))
            return False
        task.solicited = wanted_bytes
        self._used_bytes += wanted_bytes
        return True

    def remove(self, task: Task) -> list[Task]:
        """``task`` is over; returns those that may ask for their data now."""
        self.by_itt.pop(task.itt, None)
        if self._waiting:  # may be anywhere in it: one that is aborted there must not wait for those before it
            self._waiting = deque(waiting for waiting in self._waiting if waiting[0] is not task)
        return self.release(task)

    def release(self, task: Task) -> list[Task]:
        """``task`` has all its data; returns those that may ask for theirs now."""
        self._used_bytes -= task.solicited
        task.solicited = 0
        ready = []
        while self._waiting:
            following, wanted_bytes = self._waiting[0]
            if self._used_bytes and self._used_bytes + wanted_bytes > self._budget_bytes:
                break
            self._waiting.popleft()
            following.solicited = wanted_bytes
            self._used_bytes += wanted_bytes
            ready.append(following)
        return ready
