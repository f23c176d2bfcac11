"""What the parts of one lock manager share: who it is, who the others are, whether it may grant, and what goes out."""

from __future__ import annotations

from guestd.dlm.names import PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.messages import Message
    from guestd.dlm.notices import Notice


class Site:
    """One per lock manager."""

    __slots__ = ("_recovering", "clock", "members", "node", "notices", "now_ms", "outbox", "stopped")

    def __init__(self, node: int) -> None:
        self.node = node
        self.members: dict[int, int] = {}  # node -> incarnation: over whom the directory is spread
        self.stopped = True  # nothing is asked for and nothing granted: a change of the members is under way
        self._recovering: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        self.clock = 0  # beyond the number of every operation that this node has heard of
        self.now_ms = 0
        self.outbox: list[tuple[int, Message]] = []  # (to, message), also to this node itself
        self.notices: list[Notice] = []

    def recovering(self, root: bytes) -> list[tuple[int, int]]:
        """The dead lives after which those who may have locks in that tree have not recovered yet.

        guestd's own levels have when the forced leave has passed them, programs when it has passed all levels: they use
        what those below them guard, and wait for it.
        """
        return self._recovering[root.startswith(PROGRAM)]

    def recover(self, lives: list[tuple[int, int]], *, programs: bool) -> list[tuple[int, int]]:
        """From now on these are the dead lives after which programs, or guestd's own levels, have to recover; returns
        those that are not any more."""
        over = [life for life in self._recovering[programs] if life not in lives]
        self._recovering[programs] = list(lives)
        return over

    def send(self, node: int, message: Message) -> None:
        """Goes out, in order, when the input at hand has been taken."""
        self.outbox.append((node, message))

    def next_operation(self) -> int:
        """A number for an operation of this node."""
        self.clock += 1
        return self.clock
