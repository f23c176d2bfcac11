"""The action of an event: one run at a time, and only so many in a period (spec S8.3)."""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table


class ActionState(Enum):
    """What the occurrences of an event have led to."""

    IDLE = "idle"  # there is nothing to do
    OCCURRED = "occurred"  # its action runs
    AGAIN = "again"  # its action runs, and it has occurred meanwhile: the last occurrence waits
    LIMITED = "limited"  # its action has run as often as it may: the last occurrence waits for the period to pass


ACTION_STATES = Table(
    "action",
    ActionState,
    {
        ActionState.IDLE: {"run": ActionState.OCCURRED, "hold": ActionState.LIMITED},
        ActionState.OCCURRED: {"keep": ActionState.AGAIN, "end": ActionState.IDLE},
        ActionState.AGAIN: {"keep": ActionState.AGAIN, "end": ActionState.IDLE, "drop": ActionState.OCCURRED},
        ActionState.LIMITED: {"keep": ActionState.LIMITED, "release": ActionState.IDLE, "drop": ActionState.IDLE},
    },
)
