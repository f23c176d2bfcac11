"""What a task can wait for. Each step is yielded, and the yield gives its answer.

    def rename(self) -> Task[None]:
        lock = yield Acquire(OWNER, (b"volume",), Mode.EX)   # a Held
        data = yield Read(lba, 8)                           # bytes
        yield Write(lba, change(data), durable=True)        # None, once it is on the medium
        yield Release(lock.number)                          # None

Sequences are put together with `yield from`. What goes wrong comes as an exception out of the yield: DiskError,
Refused.
"""

from __future__ import annotations

from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, TypeVar

    from guestd.dlm.messages import Reason
    from guestd.dlm.modes import Mode
    from guestd.dlm.names import Name
    from guestd.dlm.notices import Blocks

    _T = TypeVar("_T")
    Task = Generator["Step | Signal", Any, _T]


class DiskError(Exception):
    """A disk command failed. A write may have been carried out all the same, in part too."""


class Refused(Exception):
    """A lock was denied; `reason` is a `guestd.dlm.messages.Reason`; `mode`: in which it is held, None: not at all."""

    def __init__(self, reason: Reason, mode: Mode | None) -> None:
        super().__init__(f"denied ({reason.name})")
        self.reason = reason
        self.mode = mode


class Step(Value):
    """Base of the steps."""


class Read(Step):
    """Answer: the bytes of `count` blocks of 512 bytes. Raises DiskError."""

    lba: int
    count: int


class Write(Step):
    """Answer: None, when it has ended. durable: it is on the medium then. Raises DiskError."""

    lba: int
    data: bytes  # a multiple of 512 bytes
    durable: bool = False


class Flush(Step):
    """Answer: None, when all writes that had ended before are on the medium. Raises DiskError."""


class Held(Value):
    """The answer to Acquire and Convert: a granted lock."""

    number: int
    mode: Mode
    value: bytes  # 64 bytes
    valid: bool  # False: the value's last writer died; read from the disk what it would have saved


class Acquire(Step):
    """A new lock. Answer: Held. Raises Refused.

    on_blocks: called when somebody waits for it; once for each mode that is wanted, while this node holds it.
    on_asked: called at once with the lock's number, for who may want to cancel.
    """

    owner: int
    name: Name
    mode: Mode
    parent: int | None = None
    noqueue: bool = False
    recovery: bool = False
    on_blocks: Callable[[Blocks], None] | None = None
    on_asked: Callable[[int], None] | None = None


class Convert(Step):
    """Another mode of a granted lock. Answer: Held. Raises Refused; what was held is held as before."""

    lock: int
    mode: Mode
    noqueue: bool = False
    value: bytes | None = None  # for the value block, when PW or EX goes down or stays


class Release(Step):
    """Give a granted lock up. Answer: None."""

    lock: int
    value: bytes | None = None


class Cancel(Step):
    """Give up what another task waits for with that lock. Answer: None, at once.

    The other task hears Refused (CANCELLED), or Held if that was under way. A lock that waits for nothing: no effect.
    """

    lock: int


class Together(Step):
    """Several tasks at once. Answer: the list of what they returned; the first exception, when all have ended."""

    tasks: tuple[Task[Any], ...]


class Signal:
    """Until somebody calls `fire`. Answer: what it was fired with. One that was fired already answers at once."""

    __slots__ = ("_answer", "_waiting", "fired")

    def __init__(self) -> None:
        self.fired = False
        self._answer: object = None
        self._waiting: list[Callable[[object], None]] = []

    def fire(self, answer: object = None) -> None:
        """Let all go on that wait, in the order in which they came. A second time changes nothing."""
        if self.fired:
            return
        self.fired, self._answer = True, answer
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on(answer)

    def when(self, go_on: Callable[[object], None]) -> None:
        """Call that when it is fired."""
        if self.fired:
            go_on(self._answer)
        else:
            self._waiting.append(go_on)
