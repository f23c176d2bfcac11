"""An event group and its events on this node: what is enabled, and what each event has come to."""

from __future__ import annotations

from guestd.events.event_states import EVENT_STATES, EventState
from guestd.events.group_states import GROUP_STATES, GroupState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.events.action import Action
    from guestd.events.desk import Desk
    from guestd.events.group import Event, Group


class WatchedEvent:
    """One event on this node."""

    def __init__(self, group: Group, event: Event, action: Action) -> None:
        self.group = group
        self.event = event
        self.action = action
        self.state = EventState.DISABLED
        self.watch = 0  # its number to the watcher, another one each time that it is enabled
        self.why = ""  # its watcher is unfit, or cannot watch for it

    def go(self, trigger: str) -> None:
        """Its next state."""
        self.state = EVENT_STATES.next(self.state, trigger)
        if self.state is not EventState.UNFIT:
            self.why = ""

    def shown(self) -> dict[str, Any]:
        """For `list`."""
        action = self.action
        return {
            "name": self.event.name,
            "watcher": self.event.watcher,
            "state": self.state.value,
            "why": self.why,
            "action": action.state.value,
            "occurrences": action.occurrences,
            "out": action.outputs,
            "runs": action.runs,
            "waiting": action.waiting(),
            "failures": action.failures,
            "failure": action.failure,
        }


class EnabledGroup:
    """One event group on this node."""

    def __init__(self, desk: Desk, group: Group, events: list[WatchedEvent]) -> None:
        self._desk = desk
        self.group = group
        self.events = events
        self.state = GroupState.DISABLED
        self.why = "it has just been defined"
        self._begins_ms = 0
        self._enabled_ms = 0

    def judge(self, why_not: str) -> None:
        """Whether it is to be enabled; why_not: the reason why it is not."""
        if why_not and self.state is not GroupState.DISABLED:
            self._go("disable", why_not)
        elif why_not:
            self.why = why_not
        elif self.state is GroupState.DISABLED:
            self._begins_ms = self._desk.now_ms + self.group.after_ms
            if self.group.after_ms:
                self._go("delay", f"when.after: {self.group.after_ms} ms")
            else:
                self._enable()

    def time_passed(self) -> None:
        """Its own times."""
        now_ms, for_ms = self._desk.now_ms, self.group.for_ms
        if self.state is GroupState.DELAYED and now_ms >= self._begins_ms:
            self._enable()
        if self.state is GroupState.ENABLED and for_ms and now_ms - self._enabled_ms >= for_ms:
            self._go("expire", f"when.for: {for_ms} ms have passed")

    def watch(self, enable: Callable[[WatchedEvent], None], disable: Callable[[WatchedEvent], None]) -> None:
        """Its events follow it."""
        on = self.state is GroupState.ENABLED
        for event in self.events:
            if on and event.state is EventState.DISABLED:
                enable(event)
            elif not on and event.state is not EventState.DISABLED:
                disable(event)

    def shown(self) -> dict[str, Any]:
        """For `list`."""
        return {
            "name": self.group.name,
            "service": self.group.service,
            "state": self.state.value,
            "why": self.why,
            "events": [event.shown() for event in self.events],
        }

    def _enable(self) -> None:
        self._enabled_ms = self._desk.now_ms
        self._go("enable", "")

    def _go(self, trigger: str, why: str) -> None:
        self.state = GROUP_STATES.next(self.state, trigger)
        self.why = why
        fields = {"service": self.group.service} if self.group.service else {}
        self._desk.emit("event-group", what=self.state.value, group=self.group.name, why=why, **fields)
