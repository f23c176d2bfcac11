"""Mutual exclusion between the tasks of one node, in the order in which they come."""

from __future__ import annotations

from guestd.tasks.steps import Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.tasks.steps import Task


class Mutex:
    """Handed on from who gives it back to who has waited longest."""

    __slots__ = ("_waiting", "busy")

    def __init__(self) -> None:
        self.busy = False
        self._waiting: list[Signal] = []

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for it."""
        return bool(self._waiting)

    def take(self) -> Task[None]:
        """Until it is the caller's."""
        if self.busy:
            turn = Signal()
            self._waiting.append(turn)
            yield turn
        self.busy = True

    def try_take(self) -> bool:
        """Whether it is the caller's now."""
        taken = not self.busy
        self.busy = True
        return taken

    def give(self) -> None:
        """The caller needs it no more."""
        assert self.busy, "nobody has it"
        if self._waiting:
            self._waiting.pop(0).fire()  # it stays busy: nobody can come between
        else:
            self.busy = False
