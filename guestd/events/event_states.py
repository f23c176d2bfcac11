"""An event on one node: how far it is watched for. What its occurrences lead to is `guestd.events.action_states`."""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table


class EventState(Enum):
    """Whether a watcher watches for it."""

    DISABLED = "disabled"  # its group is not enabled here
    WAITING = "waiting"  # for its watcher to connect
    UNFIT = "unfit"  # its watcher is connected, and has not the parameters that it refers to
    WATCHED = "watched"  # its watcher has been told


EVENT_STATES = Table(
    "event",
    EventState,
    {
        EventState.DISABLED: {"enable": EventState.WAITING},
        EventState.WAITING: {
            "watch": EventState.WATCHED,
            "refuse": EventState.UNFIT,
            "disable": EventState.DISABLED,
        },
        EventState.UNFIT: {"lose": EventState.WAITING, "disable": EventState.DISABLED},
        EventState.WATCHED: {"lose": EventState.WAITING, "disable": EventState.DISABLED},
    },
)
