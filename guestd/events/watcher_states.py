"""A watcher, as the event daemon sees it (spec S8.1). It starts those that come with the system; others come."""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table


class WatcherState(Enum):
    """How far it can be told what to watch for."""

    ABSENT = "absent"  # no event needs it; or it is not the system's, and has not connected
    STARTING = "starting"  # its program was started, and has not connected yet
    CONNECTED = "connected"  # it is told what to watch for
    SILENT = "silent"  # has not connected, has not answered, or has hung up: its program is killed
    LIMITED = "limited"  # has said too much: it is cut off, and its program is killed
    LEAVING = "leaving"  # no event needs it any more: its program is ended
    PAUSED = "paused"  # its program has ended; a while must pass before the next one


WATCHER_STATES = Table(
    "watcher",
    WatcherState,
    {
        WatcherState.ABSENT: {"start": WatcherState.STARTING, "connect": WatcherState.CONNECTED},
        WatcherState.STARTING: {
            "connect": WatcherState.CONNECTED,
            "silent": WatcherState.SILENT,
            "end": WatcherState.PAUSED,
            "leave": WatcherState.LEAVING,
        },
        WatcherState.CONNECTED: {
            "silent": WatcherState.SILENT,
            "flood": WatcherState.LIMITED,
            "end": WatcherState.PAUSED,
            "gone": WatcherState.ABSENT,  # one that is not the system's
            "leave": WatcherState.LEAVING,
        },
        WatcherState.SILENT: {"end": WatcherState.PAUSED},
        WatcherState.LIMITED: {"end": WatcherState.PAUSED},
        WatcherState.LEAVING: {"end": WatcherState.ABSENT},
        WatcherState.PAUSED: {"resume": WatcherState.ABSENT},
    },
)
