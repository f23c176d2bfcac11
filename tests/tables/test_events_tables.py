"""The event daemon's tables: every (state, trigger) pair is a row, or is refused without moving (spec S8)."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from guestd.core.machine import IllegalTrigger, Table
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
PAIRS = [
    pytest.param(table, state, trigger, rows.get((state.value, trigger)), id=f"{table.name}: {state.value} {trigger}")
    for table, states, rows in MACHINES
    for state in states
    for trigger in table.triggers
]


@pytest.mark.parametrize(("table", "state", "trigger", "following"), PAIRS)
def test_each_pair_is_a_row_or_is_refused(table: Table[Any], state: Enum, trigger: str, following: str | None) -> None:
    # S8.1, S8.3, S8.4
    assert table.takes(state, trigger) == (following is not None)
    if following is None:
        with pytest.raises(IllegalTrigger, match=f'{state.value} cannot take "{trigger}"'):
            table.next(state, trigger)
    else:
        assert table.next(state, trigger).value == following


@pytest.mark.parametrize(("table", "states", "rows"), MACHINES, ids=[table.name for table, _, _ in MACHINES])
def test_the_table_has_no_row_that_is_not_listed_here(
    table: Table[Any], states: type[Enum], rows: dict[tuple[str, str], str]
) -> None:
    found = {(state.value, trigger): to.value for state in states for trigger, to in table.rows[state].items()}
    assert found == rows
