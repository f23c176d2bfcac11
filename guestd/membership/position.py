"""Where in its transition a node is: what is notified, and what is acknowledged.

A position names the very life, transition, level and barrier, and no epoch: a new master goes on where the last one
stopped, and an acknowledgement given to the old one counts for the new one (spec S3.3).
"""

from __future__ import annotations

from guestd.core.value import Value
from guestd.membership.states import NodeState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.membership.view import Entry


class Position(Value):
    """One point of one node's transition."""

    subject: int
    incarnation: int
    state: NodeState  # of the subject: joining, leaving or forced-leaving
    level: int  # its order
    barrier: int

    @property
    def transition(self) -> str:
        """join, leave or forced-leave."""
        return self.state.transition or "none"


def position_of(subject: int, entry: Entry) -> Position | None:
    """The point at which that node's transition stands; None if it has none under way."""
    if not entry.moves:
        return None
    return Position(subject, entry.incarnation, entry.state, entry.level, entry.barrier)
