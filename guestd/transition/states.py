"""The table of spec S4.7: what a subsystem thinks of one node, and what it may be told next.

A trigger "join", "leave" or "forced-leave" is a notification; "complete" means that the subsystems of all live nodes
have acknowledged its last barrier. "join" never interrupts and is never interrupted by "leave": a join turns into a
leave between levels only (spec S4.8).
"""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table


class SubsystemState(Enum):
    """The state of one node for the subsystem at one level."""

    INACTIVE = "inactive"  # does not exist for this subsystem
    JOINING = "joining"  # its join was notified; not all have acknowledged it
    JOINED = "joined"  # its join is complete at this level
    LEAVING = "leaving"  # its leave was notified; not all have acknowledged it
    FORCED_LEAVING = "forced-leaving"  # its forced leave was notified: recovery after it is under way


SUBSYSTEM_STATES = Table(
    "subsystem state",
    SubsystemState,
    {
        SubsystemState.INACTIVE: {"join": SubsystemState.JOINING},
        SubsystemState.JOINING: {"complete": SubsystemState.JOINED, "forced-leave": SubsystemState.FORCED_LEAVING},
        SubsystemState.JOINED: {"leave": SubsystemState.LEAVING, "forced-leave": SubsystemState.FORCED_LEAVING},
        SubsystemState.LEAVING: {"complete": SubsystemState.INACTIVE, "forced-leave": SubsystemState.FORCED_LEAVING},
        SubsystemState.FORCED_LEAVING: {"complete": SubsystemState.INACTIVE},
    },
)
