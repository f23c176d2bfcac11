"""The event daemon: watchers on one side, the actions of events on the other (spec S8.1 to S8.4).

It is part of one program on each node (docs/event-manager.md), and pure: what it is told comes with the time, what it
wants done is put out as effects. Event groups come from the database of the services; watchers come over the event
manager's socket.

Nothing that a watcher says, and nothing that an action does, harms the events of other watchers or groups: a watcher
that is silent or says too much is ended and begins anew after a pause, an action has a time and a number of runs.
"""

from __future__ import annotations

from guestd.events.action import Action
from guestd.events.conditions import Circumstances, why_not
from guestd.events.declaration import value_problem, with_defaults
from guestd.events.definition import fit_problems
from guestd.events.desk import Desk
from guestd.events.enabled_group import EnabledGroup, WatchedEvent
from guestd.events.event_states import EventState
from guestd.events.limits import Limits
from guestd.events.seats import Seats

__all__ = ["Circumstances", "EventDaemon", "Limits"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from guestd.core.value import Value
    from guestd.events.group import Group
    from guestd.events.inputs import CommandEnded
    from guestd.events.seat import Seat

MESSAGES = ("occurred", "trouble", "pong")
WHY_SIZE_MAX = 400
COUNT_MAX = 1 << 31


class EventDaemon:
    """One node's. Every method is given the time, in milliseconds, which does not go back."""

    def __init__(
        self,
        node: int,
        put: Callable[[Value], None],
        next_number: Callable[[], int],
        limits: Limits | None = None,
    ) -> None:
        """put: takes an effect. next_number: of a command, never the same twice."""
        self._desk = Desk(node, put, next_number, Limits() if limits is None else limits)
        self._groups: dict[str, EnabledGroup] = {}
        self._seats = Seats(self._desk)
        self._watches: dict[int, WatchedEvent] = {}
        self._watched = 0  # how many watches there have been
        self._actions: dict[int, Action] = {}  # by the command's number: those that run, of groups that are gone too

    # What it is told.

    def groups(self, wanted: Mapping[str, tuple[Group, bool]], circumstances: Circumstances, now_ms: int) -> None:
        """All groups that there are, by any key of their own, and whether an administrator has them enabled.

        To be called whenever any of that has changed, also for nothing.
        """
        self._desk.at(now_ms)
        for key in [key for key, one in self._groups.items() if key not in wanted or one.group != wanted[key][0]]:
            self._forget(key)
        for key in sorted(wanted):
            group, enabled = wanted[key]
            if key not in self._groups:
                self._groups[key] = EnabledGroup(self._desk, group, self._events(group))
            reason = why_not(group, self._desk.node, circumstances) if enabled else "an administrator has disabled it"
            self._groups[key].judge(reason)
        self._settle()

    def said(self, connection: int, message: dict[str, Any], now_ms: int) -> bool:
        """A line has come in at the event manager's socket. False: it is no watcher's, somebody else is to answer."""
        self._desk.at(now_ms)
        if self._seats.was_cut(connection):
            return True
        seat = self._seats.of(connection)
        if seat is None and list(message) != ["watcher"]:
            return False
        if seat is None:
            self._seats.connect(connection, message["watcher"])
        elif not seat.floods(len(self._enabled(seat.name))):
            self._message(seat, connection, message)
        self._settle()
        return True

    def gone(self, connection: int, now_ms: int) -> None:
        """A connection has ended; it may be anybody's."""
        self._desk.at(now_ms)
        if self._seats.gone(connection):
            self._settle()

    def command_ended(self, given: CommandEnded, now_ms: int) -> bool:
        """A command has ended: an action, or the program of a watcher. False: it is neither."""
        self._desk.at(now_ms)
        action = self._actions.pop(given.number, None)
        if action is not None:
            action.ended(given)
            self._runs(action)
        elif not self._seats.ended(given):
            return False
        self._settle()
        return True

    def transition(self, node: int, incarnation: int, transition: str, members: tuple[int, ...], now_ms: int) -> None:
        """A node joins, leaves, or is forced out (join, leave, forced-leave); members: afterwards (spec S8.5)."""
        self._desk.at(now_ms)
        for seat in self._seats.all():
            watches = [one.watch for one in self._enabled(seat.name)]
            if seat.declaration is not None and seat.declaration.follows:
                fields = {"node": node, "incarnation": incarnation, "transition": transition}
                seat.follow({**fields, "members": list(members), "watches": watches}, needed=bool(watches))

    def tick(self, now_ms: int) -> None:
        """Time has passed."""
        self._desk.at(now_ms)
        self._settle()

    # What it knows.

    def shown(self) -> dict[str, Any]:
        """For `{"event": {"do": "list"}}`: the groups in the order of their keys, and the watchers."""
        return {
            "groups": [self._groups[key].shown() for key in sorted(self._groups)],
            "watchers": self._seats.shown(lambda name: [one.event.name for one in self._enabled(name)]),
        }

    def _message(self, seat: Seat, connection: int, message: dict[str, Any]) -> None:
        keys = list(message)
        said = message[keys[0]] if len(keys) == 1 else None
        if keys == ["pong"]:
            seat.answered(said)
            return
        if len(keys) != 1 or keys[0] not in MESSAGES or not isinstance(said, dict):
            self._desk.answer(connection, error=f"{str(message)[:80]!r} (legal: {', '.join(MESSAGES)})")
            return
        watched = self._watches.get(said.get("watch", 0)) if type(said.get("watch")) is int else None
        if watched is None or watched.event.watcher != seat.name:
            number = said.get("watch")
            if type(number) is not int or not 1 <= number <= self._watched:  # else it was taken back a moment ago
                legal = [one.watch for one in self._enabled(seat.name)]
                self._desk.answer(connection, error=f"watch {number!r} (legal: {legal})")
        elif watched.state is EventState.WATCHED:
            if keys == ["occurred"]:
                self._occurred(seat, connection, watched, said)
            else:
                self._trouble(watched, said.get("why", ""))

    def _occurred(self, seat: Seat, connection: int, watched: WatchedEvent, said: dict[str, Any]) -> None:
        assert seat.declaration is not None
        known = {parameter.name: parameter for parameter in seat.declaration.outputs}
        given = said.get("out", {})
        outputs = {}
        for name, value in given.items() if isinstance(given, dict) else ():
            why = value_problem(known[name], value) if name in known else f"legal: {', '.join(known) or 'none'}"
            if why:
                # The occurrence counts. An action that needs the value fails, and says so.
                self._desk.answer(connection, error=f"out {name!r}: {why}")
            else:
                outputs[name] = value
        count = said.get("count", 1)
        sound = type(count) is int and 1 <= count <= COUNT_MAX
        watched.action.occurred(outputs, count if sound else 1)
        self._runs(watched.action)

    def _runs(self, action: Action) -> None:
        if action.number is not None:
            self._actions[action.number] = action

    def _trouble(self, watched: WatchedEvent, why: object) -> None:
        """Its watcher cannot watch for it at present; "" if it can again."""
        text = str(why)[:WHY_SIZE_MAX]
        if text == watched.why:
            return
        watched.why = text
        self._tell(watched, "trouble" if text else "fine")

    def _tell(self, watched: WatchedEvent, what: str) -> None:
        """The host, of what is wrong with an event."""
        name = watched.event.name
        self._desk.emit_seldom("event-group", name, what, group=watched.group.name, event=name, why=watched.why)

    def _enabled(self, watcher: str) -> list[WatchedEvent]:
        return [one for one in self._watches.values() if one.event.watcher == watcher]

    # Event groups.

    def _events(self, group: Group) -> list[WatchedEvent]:
        running = {action.event.name: action for action in self._actions.values()}
        events = []
        for event in group.events:
            action = running.get(event.name) or Action(self._desk, group, event)
            action.defined_anew(group, event)
            events.append(WatchedEvent(group, event, action))
        return events

    def _forget(self, key: str) -> None:
        gone = self._groups.pop(key)
        gone.judge("it is not defined any more")
        gone.watch(self._enable, self._disable)

    def _enable(self, watched: WatchedEvent) -> None:
        watched.go("enable")
        self._watched += 1
        watched.watch = self._watched
        self._watches[watched.watch] = watched
        self._seats.seat(watched.event.watcher)

    def _disable(self, watched: WatchedEvent) -> None:
        seat = self._seats.seat(watched.event.watcher)
        if watched.state is EventState.WATCHED and seat.connection is not None:
            self._desk.answer(seat.connection, unwatch=watched.watch)
        del self._watches[watched.watch]
        watched.go("disable")
        watched.action.dropped()

    def _settle(self) -> None:
        """What follows from what was said, and from the time."""
        for group in self._groups.values():
            group.time_passed()
            group.watch(self._enable, self._disable)
        needed = {watched.event.watcher for watched in self._watches.values()}
        self._seats.time_passed(needed.__contains__)
        for watched in self._watches.values():
            seat = self._seats.seat(watched.event.watcher)
            if watched.state is not EventState.WAITING and seat.connection is None:
                watched.go("lose")
            if watched.state is EventState.WAITING and seat.connection is not None:
                self._watch(watched, seat, seat.connection)
            watched.action.time_passed()
            self._runs(watched.action)
        for seat in self._seats.all():
            seat.catch_up()

    def _watch(self, watched: WatchedEvent, seat: Seat, connection: int) -> None:
        """Tell its watcher."""
        assert seat.declaration is not None
        wrong = fit_problems(watched.event, seat.declaration)
        if wrong:
            watched.go("refuse")
            watched.why = "; ".join(f"{field}: {why}" for field, why in wrong)[:WHY_SIZE_MAX]
            self._tell(watched, "unfit")
            return
        inputs = with_defaults(seat.declaration, watched.event.inputs)
        watched.action.given(inputs)
        watched.go("watch")
        watch = {"watch": watched.watch, "event": watched.event.name, "in": inputs}
        self._desk.answer(connection, watch=watch)
