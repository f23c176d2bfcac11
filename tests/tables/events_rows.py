"""The rows of the event daemon's tables (spec S8); test_guestd_tables.py goes through every pair."""

from __future__ import annotations

from enum import Enum
from typing import Any

from guestd.core.machine import Table
from guestd.events.action_states import ACTION_STATES, ActionState
from guestd.events.event_states import EVENT_STATES, EventState
from guestd.events.group_states import GROUP_STATES, GroupState
from guestd.events.watcher_states import WATCHER_STATES, WatcherState

GROUP_ROWS = {  # S8.4
    ("disabled", "enable"): "enabled",
    ("disabled", "delay"): "delayed",
    ("delayed", "enable"): "enabled",
    ("delayed", "disable"): "disabled",
    ("enabled", "expire"): "over",
    ("enabled", "disable"): "disabled",
    ("over", "disable"): "disabled",
}
EVENT_ROWS = {
    ("disabled", "enable"): "waiting",
    ("waiting", "watch"): "watched",
    ("waiting", "refuse"): "unfit",
    ("waiting", "disable"): "disabled",
    ("unfit", "lose"): "waiting",
    ("unfit", "disable"): "disabled",
    ("watched", "lose"): "waiting",
    ("watched", "disable"): "disabled",
}
ACTION_ROWS = {  # S8.3
    ("idle", "run"): "occurred",
    ("idle", "hold"): "limited",
    ("occurred", "keep"): "again",
    ("occurred", "end"): "idle",
    ("again", "keep"): "again",
    ("again", "end"): "idle",  # and from there, at once, where the occurrence that waits leads to
    ("again", "drop"): "occurred",
    ("limited", "keep"): "limited",
    ("limited", "release"): "idle",
    ("limited", "drop"): "idle",
}
WATCHER_ROWS = {  # S8.1
    ("absent", "start"): "starting",
    ("absent", "connect"): "connected",
    ("starting", "connect"): "connected",
    ("starting", "silent"): "silent",
    ("starting", "end"): "paused",
    ("starting", "leave"): "leaving",
    ("connected", "silent"): "silent",
    ("connected", "flood"): "limited",
    ("connected", "end"): "paused",
    ("connected", "gone"): "absent",
    ("connected", "leave"): "leaving",
    ("silent", "end"): "paused",
    ("limited", "end"): "paused",
    ("leaving", "end"): "absent",
    ("paused", "resume"): "absent",
}
MACHINES: list[tuple[Table[Any], type[Enum], dict[tuple[str, str], str]]] = [
    (GROUP_STATES, GroupState, GROUP_ROWS),
    (EVENT_STATES, EventState, EVENT_ROWS),
    (ACTION_STATES, ActionState, ACTION_ROWS),
    (WATCHER_STATES, WatcherState, WATCHER_ROWS),
]
