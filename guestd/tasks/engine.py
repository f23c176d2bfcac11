"""Runs tasks: hands each step to the disk or the lock manager, and goes on with the task when the answer has come.

A task runs until it waits; several run in turn, in the order in which their answers come in. So the same answers in the
same order give the same steps.
"""

from __future__ import annotations

from guestd.dlm.notices import Blocks, Denied, Gone, Granted
from guestd.fence.persistent_reserve import CHECK_CONDITION, GOOD, UNIT_ATTENTION
from guestd.tasks.steps import (
    Acquire,
    Cancel,
    Convert,
    DiskError,
    Flush,
    Held,
    Read,
    Refused,
    Release,
    Signal,
    Together,
    Write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.core.disk import Disk
    from guestd.dlm.desk import LockDesk
    from guestd.dlm.notices import Notice
    from guestd.tasks.steps import Task

    Ended = Callable[["Outcome"], None]


ATTENTIONS_MAX = 8
SYNCHRONIZE_CACHE = bytes([0x35, *[0] * 9])  # SBC-4 5.24, of the whole unit


class Outcome:
    """How a task has ended: what it returned, or the exception that it ended with."""

    __slots__ = ("error", "result")

    def __init__(self, result: Any = None, error: Exception | None = None) -> None:
        self.result = result
        self.error = error

    def get(self) -> Any:
        """The result; raises the exception."""
        if self.error is not None:
            raise self.error
        return self.result


class Engine:
    """One per node's life."""

    __slots__ = ("_disk", "_locks", "_ready", "_running", "_stopped", "_waits", "running_count", "touched")

    def __init__(self, disk: Disk, locks: Callable[[], LockDesk]) -> None:
        """locks: the desk, once a task asks for a lock."""
        self._disk = disk
        self._locks = locks
        self._waits: dict[int, Callable[[Outcome], None]] = {}  # by lock: the task that waits for it
        self._ready: list[tuple[Task[Any], Outcome, Ended]] = []
        self._running = False
        self._stopped = False
        self.touched = False  # some task has gone on since its user set this back
        self.running_count = 0  # tasks that have not ended

    def start(self, task: Task[Any], then: Ended | None = None) -> None:
        """Begin a task; `then` is called with its outcome. Without it, an exception goes up to who gave the input."""
        self.running_count += 1
        self._resume(task, Outcome(), then if then is not None else _must_succeed)

    def stop(self) -> None:
        """This life is over: no task goes on any more, whatever comes in."""
        self._stopped = True

    # -- inner workings

    def _resume(self, task: Task[Any], answer: Outcome, then: Ended) -> None:
        """Go on with that task; not within another one, which may be on its way to its own next step."""
        if self._stopped:
            return
        self._ready.append((task, answer, then))
        self.touched = True
        if self._running:
            return
        self._running = True
        try:
            while self._ready:
                self._go_on(*self._ready.pop(0))
        finally:
            self._running = False

    def _go_on(self, task: Task[Any], answer: Outcome, then: Ended) -> None:
        try:
            step = task.send(answer.result) if answer.error is None else task.throw(answer.error)
        except StopIteration as end:
            self.running_count -= 1
            then(Outcome(end.value))
        except Exception as why:  # noqa: BLE001  # whoever started it decides what that means
            self.running_count -= 1
            then(Outcome(error=why))
        else:
            self._perform(step, lambda found: self._resume(task, found, then))

    def _perform(self, step: object, answer: Callable[[Outcome], None]) -> None:
        if isinstance(step, Read):
            self._disk.read(step.lba, step.count, lambda ok, data: answer(_of_disk(ok, step, data)))
        elif isinstance(step, Write):
            self._disk.write(step.lba, step.data, lambda ok: answer(_of_disk(ok, step, None)), durable=step.durable)
        elif isinstance(step, Flush):
            self._flush(answer, ATTENTIONS_MAX)
        elif isinstance(step, Signal):
            step.when(lambda found: answer(Outcome(found)))
        elif isinstance(step, Together):
            self._together(step, answer)
        elif isinstance(step, Cancel):
            self._cancel(step.lock)
            answer(Outcome())
        else:
            self._perform_lock(step, answer)

    def _flush(self, answer: Callable[[Outcome], None], attentions: int) -> None:
        """attentions: so often it is said again when the disk had something else to tell first (SPC-4 5.14)."""

        def ended(status: int, _: bytes, sense_key: int) -> None:
            if status == CHECK_CONDITION and sense_key == UNIT_ATTENTION and attentions:
                self._flush(answer, attentions - 1)
            else:
                answer(_of_flush(status))

        self._disk.scsi(SYNCHRONIZE_CACHE, b"", 0, ended)

    def _perform_lock(self, step: object, answer: Callable[[Outcome], None]) -> None:
        try:
            self._waits[self._ask(step)] = answer
        except ValueError as why:  # what it asks for cannot be done with that lock
            answer(Outcome(error=why))

    def _cancel(self, lock: int) -> None:
        try:
            self._locks().manager.cancel(lock)
        except ValueError:
            return  # it waits for nothing any more; whoever waited hears so

    def _ask(self, step: object) -> int:
        """The number of the lock of which the answer will be."""
        desk = self._locks()
        if isinstance(step, Acquire):
            lock = desk.lock(
                lambda notice: self._noticed(step.on_blocks, notice),
                step.owner,
                step.name,
                step.mode,
                parent=step.parent,
                noqueue=step.noqueue,
                recovery=step.recovery,
            )
            if step.on_asked is not None:
                step.on_asked(lock)
            return lock
        if isinstance(step, Convert):
            desk.manager.convert(step.lock, step.mode, noqueue=step.noqueue, value=step.value)
        elif isinstance(step, Release):
            desk.manager.unlock(step.lock, value=step.value)
        else:
            raise TypeError(f"{step!r} is no step of a task")
        return step.lock

    def _noticed(self, on_blocks: Callable[[Blocks], None] | None, notice: Notice) -> None:
        if isinstance(notice, Blocks):
            if on_blocks is not None:
                on_blocks(notice)
            return
        answer = self._waits.pop(notice.lock)
        if isinstance(notice, Granted):
            answer(Outcome(Held(notice.lock, notice.mode, notice.value, notice.valid)))
        elif isinstance(notice, Denied):
            answer(Outcome(error=Refused(notice.reason, notice.mode)))
        else:
            assert isinstance(notice, Gone), notice
            answer(Outcome())

    def _together(self, step: Together, answer: Callable[[Outcome], None]) -> None:
        outcomes: dict[int, Outcome] = {}

        def ended(place: int, outcome: Outcome) -> None:
            outcomes[place] = outcome
            if len(outcomes) == len(step.tasks):
                in_order = [outcomes[place] for place in range(len(outcomes))]
                error = next((one.error for one in in_order if one.error is not None), None)
                answer(Outcome([one.result for one in in_order], error))

        if not step.tasks:
            answer(Outcome([]))
        for place, task in enumerate(step.tasks):
            self.start(task, _bound(ended, place))


def _bound(ended: Callable[[int, Outcome], None], place: int) -> Ended:
    return lambda outcome: ended(place, outcome)


def _must_succeed(outcome: Outcome) -> None:
    outcome.get()


def _of_disk(ok: bool, step: Read | Write, data: bytes | None) -> Outcome:
    if ok:
        return Outcome(data)
    what, blocks = ("read", step.count) if isinstance(step, Read) else ("write", len(step.data) // 512)
    return Outcome(error=DiskError(f"{what} of {blocks} blocks at {step.lba} failed"))


def _of_flush(status: int) -> Outcome:
    return Outcome(error=None if status == GOOD else DiskError(f"SYNCHRONIZE CACHE ended with status {status}"))
