"""Events and event groups as values (spec S8.2, S8.4): what `guestd.events.definition` makes of tables."""

from __future__ import annotations

from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Event(Value):
    """One event. Times in milliseconds."""

    name: str  # unique in the cluster
    watcher: str
    inputs: dict[str, Any]  # with the defaults of a watcher that comes with the system
    action: tuple[str, ...]
    timeout_ms: int  # of its action
    times: int  # its action runs no more often than that
    period_ms: int  # in this time


class Group(Value):
    """Events that are enabled and disabled together."""

    name: str
    service: str  # the client service whose group it is; "": of none
    where: str  # registered, all, nodes
    nodes: tuple[int, ...]  # if `where` is nodes
    after_ms: int  # it is watched so long after it was enabled
    for_ms: int  # and no longer than that; 0: for as long as it is enabled
    members_min: int
    service_registered: str  # somewhere in the cluster; "": does not matter
    events: tuple[Event, ...]
