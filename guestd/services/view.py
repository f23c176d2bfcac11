"""What one event manager knows of the nodes, by the framework's notifications (spec S4.3, S8.5).

Of an event manager that takes part, this is never behind the database: another node signs on while its join is
processed at this level, or later, and that is not complete before this one has acknowledged it.
"""

from __future__ import annotations

from guestd.core.value import Value
from guestd.transition.states import SubsystemState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.notification import Notification
    from guestd.services.database import Database

DURING = {
    "join": SubsystemState.JOINING,
    "leave": SubsystemState.LEAVING,
    "forced-leave": SubsystemState.FORCED_LEAVING,
}
AFTER = {"join": SubsystemState.JOINED, "leave": SubsystemState.INACTIVE, "forced-leave": SubsystemState.INACTIVE}


class Seen(Value):
    """One node."""

    state: SubsystemState
    incarnation: int  # 0: none of it was heard of


class View:
    """Of all nodes."""

    def __init__(self, nodes: int) -> None:
        self.seen = [Seen(SubsystemState.INACTIVE, 0)] * nodes

    def notified(self, told: Notification) -> None:
        """What is to be processed."""
        incarnations = {one.node: one.incarnation for one in told.transitions}
        for node, state in enumerate(told.states):
            self.seen[node] = Seen(SubsystemState(state), incarnations.get(node, self.seen[node].incarnation))

    def acknowledged(self, told: Notification) -> None:
        """That is processed here."""
        for one in told.transitions:
            # A leave may have been told before a join was acknowledged.
            if self.seen[one.node] == Seen(DURING[one.transition], one.incarnation):
                self.seen[one.node] = Seen(AFTER[one.transition], one.incarnation)

    def lives(self, node: int, incarnation: int) -> bool:
        """Whether what runs there in that incarnation may still run."""
        seen = self.seen[node]
        gone = (SubsystemState.INACTIVE, SubsystemState.FORCED_LEAVING)
        return seen.incarnation == incarnation and seen.state not in gone

    def leaving(self, node: int) -> bool:
        """Whether it leaves gracefully."""
        return self.seen[node].state is SubsystemState.LEAVING

    def up(self, node: int, database: Database) -> bool:
        """Whether services may be registered there: it is joined, and its event manager takes part."""
        seen, signed = self.seen[node], database.members.get(node)
        joined = seen.state in (SubsystemState.JOINED, SubsystemState.JOINING)
        return joined and signed is not None and signed.incarnation == seen.incarnation and not signed.left
