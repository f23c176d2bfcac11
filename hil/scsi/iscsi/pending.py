"""How the pending commands of a session end: executed, held by a fault and executed later, or aborted."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hil.scsi.command import ABORTED, Command, Nexus, Outcome
from hil.scsi.iscsi.answers import Answers
from hil.scsi.iscsi.tasks import Task, TaskSet
from hil.scsi.operation import Direction
from hil.scsi.sense import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.scsi.faults.fault import Run
    from hil.scsi.target import Target

WINDOW: Final = 128  # what QEMU's virtio-scsi queues per LUN
TASKS_MAX: Final = WINDOW + 32  # besides the window, immediate commands
_WORD: Final = 0xFFFFFFFF
_SOLICITED_BYTES_MAX: Final = 4 * 1024 * 1024
_LATE_BYTES: Final = 1024 * 1024


class Pending(Answers):
    """``wake`` is called when something is to be sent that nothing received asked for."""

    def __init__(self, target: Target, nexus: Nexus | None, wake: Callable[[], None], **numbers: Any) -> None:
        super().__init__(**numbers)
        self.target = target
        self.nexus = nexus
        self.tasks = TaskSet(_SOLICITED_BYTES_MAX)
        self._wake = wake
        self._late: deque[tuple[Task, Run]] = deque()

    @abstractmethod
    def _proceed(self, task: Task) -> None:
        """``task`` may ask for more of its data now."""

    def commands_under_way(self) -> int:
        """Of ``NexusSession``: those that wait for their data, or are held."""
        return len(self.tasks.by_itt)

    def abort_tasks(self, lun: int | None, spare: Command | None = None) -> int:
        """RFC 7143 4.2.3.3: aborted commands get no answer; the ledger says TASK ABORTED. Returns how many."""
        found = [
            task
            for task in self.tasks.by_itt.values()
            if (lun is None or task.command.lun == lun) and task.command is not spare
        ]
        for task in found:
            self.abort(task)
        if self.out:
            self._wake()
        return len(found)

    def abandon_tasks(self) -> None:
        """The session ends: what is queued in spite of that is the target's from now on, all else is aborted."""
        for task in list(self.tasks.by_itt.values()):
            if self.target.faults.outlives(task.command):
                del self.tasks.by_itt[task.itt]
                self.target.adopt(task.command)
        self.abort_tasks(None)

    def abort(self, task: Task) -> None:
        """Ends ``task`` without an answer; its data, if more comes, finds no task and is dropped.

        One that is held will not be executed.
        """
        if self.tasks.by_itt.get(task.itt) is not task:
            return  # ended meanwhile, because another one made room for it
        if task.transfer is not None:
            task.command.data = task.transfer.received
        self.target.faults.let_go(task.command)
        self._over(task, ABORTED)

    def _hold(self, task: Task) -> None:
        """A fault holds the command: it ends when the fault is healed, unless it is aborted before."""
        task.transfer = None
        task.command.resume = partial(self._resume, task)
        if task.itt not in self.tasks.by_itt:
            self.tasks.add(task)
            if len(self.tasks.by_itt) > TASKS_MAX:
                self.target.faults.let_go(task.command)
                self._finish(task, Outcome(Status.TASK_SET_FULL))
        for ready in self.tasks.release(task):
            self._proceed(ready)

    def _resume(self, task: Task, run: Run) -> None:
        """Now; a read later, when its initiator does not take what it was sent already.

        Else the end of a fault that held many reads would fill the memory with their answers.
        """
        if self.out_bytes > _LATE_BYTES and task.command.direction is Direction.READ:
            self._late.append((task, run))
            return
        self._run(task, run)
        self._wake()

    def go_on(self) -> bool:
        """Runs what ``_resume`` has put off, as far as there is room; whether anything is to be sent."""
        while self._late and self.out_bytes <= _LATE_BYTES:
            self._run(*self._late.popleft())
        return bool(self.out)

    def _run(self, task: Task, run: Run) -> None:
        if self.tasks.by_itt.get(task.itt) is task:  # not aborted meanwhile
            outcome = run()
            if outcome is not None:  # None: the next fault holds it
                self.target.faults.executed(task.command)
                self._finish(task, outcome)

    def _finish(self, task: Task, outcome: Outcome) -> None:
        self._over(task, outcome, answer=True)

    def _over(self, task: Task, outcome: Outcome, *, answer: bool = False) -> None:
        """Where every pending task ends: recorded, window moved on, answered unless aborted, others let in."""
        assert self.nexus is not None
        self.target.record(self.nexus, task.command, outcome)
        if not task.immediate:
            self.max_cmd_sn = (self.max_cmd_sn + 1) & _WORD
        if answer:
            self.answer(task, outcome)
        for ready in self.tasks.remove(task):
            self._proceed(ready)
