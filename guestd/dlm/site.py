"""What the parts of one lock manager share: who it is, who the others are, whether it may grant, and what goes out."""

from __future__ import annotations

from guestd.dlm.names import is_of_a_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.messages import Message
    from guestd.dlm.notices import Notice


class Site:
    """One per lock manager."""

    __slots__ = (
        "clock",
        "kernel_recovering",
        "members",
        "node",
        "notices",
        "now_ms",
        "outbox",
        "recovering",
        "stopped",
    )

    def __init__(self, node: int) -> None:
        self.node = node
        self.members: dict[int, int] = {}  # node -> incarnation: over whom the directory is spread
        self.stopped = True  # nothing is asked for and nothing granted: a change of the members is under way
        self.recovering: list[tuple[int, int]] = []  # dead lives after which the levels above have not recovered
        self.kernel_recovering: list[tuple[int, int]] = []  # of these, those after which guestd's own have not
        self.clock = 0  # beyond the number of every operation that this node has heard of
        self.now_ms = 0
        self.outbox: list[tuple[int, Message]] = []  # (to, message), also to this node itself
        self.notices: list[Notice] = []

    def held_back(self, root: bytes) -> list[tuple[int, int]]:
        """The dead lives whose locks in that tree are held back: what they protected is not recovered yet."""
        return self.recovering if is_of_a_program(root) else self.kernel_recovering

    def send(self, node: int, message: Message) -> None:
        """Goes out, in order, when the input at hand has been taken."""
        self.outbox.append((node, message))

    def next_operation(self) -> int:
        """A number for an operation of this node."""
        self.clock += 1
        return self.clock
