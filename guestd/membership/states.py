"""The states of a node (spec S2.4), as all nodes see them in the commit record.

          admit                complete
inactive ------> joining ----------------> joined
    ^              | \\ leave                | |
    |              |  \\-----> leaving <-----+ | leave
    |   complete   | force      |  |          |
    +--------------|------------+  | force    | force
    |   complete   v               |          |
    +------- forced-leaving <------+----------+
"""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table


class NodeState(Enum):
    """How far a node's current incarnation is a member."""

    INACTIVE = "inactive"  # not configured, or not an active member
    JOINING = "joining"  # admitted; not every registered subsystem has processed its join
    JOINED = "joined"  # every subsystem of every live node has processed its join
    LEAVING = "leaving"  # leaves gracefully; still takes part until the end
    FORCED_LEAVING = "forced-leaving"  # dead to the others, which recover after it

    @property
    def live(self) -> bool:
        """Takes part: acknowledges transitions, watches and is watched."""
        return self in _LIVE

    @property
    def transition(self) -> str | None:
        """The type of the transition that a node in this state undergoes, if any."""
        return _TRANSITIONS.get(self.value)


_LIVE = (NodeState.JOINING, NodeState.JOINED, NodeState.LEAVING)
_TRANSITIONS = {  # by value, for the hash of a string is kept
    NodeState.JOINING.value: "join",
    NodeState.LEAVING.value: "leave",
    NodeState.FORCED_LEAVING.value: "forced-leave",
}

NODE_STATES = Table(
    "node state",
    NodeState,
    {
        NodeState.INACTIVE: {"admit": NodeState.JOINING},
        NodeState.JOINING: {
            "complete": NodeState.JOINED,
            "leave": NodeState.LEAVING,  # between levels only (spec S4.8)
            "force": NodeState.FORCED_LEAVING,
        },
        NodeState.JOINED: {"leave": NodeState.LEAVING, "force": NodeState.FORCED_LEAVING},
        NodeState.LEAVING: {"complete": NodeState.INACTIVE, "force": NodeState.FORCED_LEAVING},
        NodeState.FORCED_LEAVING: {"complete": NodeState.INACTIVE},
    },
)
