"""Mutual exclusion between the tasks of one node, in the order in which they come."""

from __future__ import annotations

from guestd.tasks.steps import Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.tasks.steps import Task


_LEFT = object()


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

    def take(self, turn: Signal | None = None) -> Task[bool]:
        """Until it is the caller's: True; or until `leave` is told of that turn: False."""
        if self.busy:
            turn = turn or Signal()
            self._waiting.append(turn)
            if (yield turn) is _LEFT:
                return False
        self.busy = True
        return True

    def leave(self, turn: Signal) -> None:
        """Who waits with that turn does not any more. Nothing happens if nobody does."""
        if turn in self._waiting:
            self._waiting.remove(turn)
            turn.fire(_LEFT)

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
