"""An event group on one node, from being enabled to being disabled (spec S8.4)."""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table


class GroupState(Enum):
    """Whether its events are watched for here."""

    DISABLED = "disabled"  # an administrator, its `where` or a condition says so
    DELAYED = "delayed"  # enabled, but the time `when.after` has not passed
    ENABLED = "enabled"  # its events are watched for
    OVER = "over"  # still enabled, but the time `when.for` has passed


GROUP_STATES = Table(
    "event group",
    GroupState,
    {
        GroupState.DISABLED: {"enable": GroupState.ENABLED, "delay": GroupState.DELAYED},
        GroupState.DELAYED: {"enable": GroupState.ENABLED, "disable": GroupState.DISABLED},
        GroupState.ENABLED: {"expire": GroupState.OVER, "disable": GroupState.DISABLED},
        GroupState.OVER: {"disable": GroupState.DISABLED},
    },
)
