"""All watchers of one event daemon, by their names and by their connections (spec S8.1)."""

from __future__ import annotations

from guestd.events.declaration import BadDeclaration, Declaration, declared
from guestd.events.effects import HangUp
from guestd.events.seat import Seat
from guestd.events.watcher_states import WatcherState
from guestd.events.watchers import WATCHERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.events.desk import Desk
    from guestd.events.inputs import CommandEnded


class Seats:
    """A watcher has a seat while an event needs it, and while it is connected."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seats: dict[str, Seat] = {}
        self._connections: dict[int, Seat] = {}
        self._cut: set[int] = set()  # connections that were cut, and have not ended: what they say is over

    def seat(self, name: str) -> Seat:
        """Of that watcher, a new one if it has none."""
        if name not in self._seats:
            self._seats[name] = Seat(self._desk, name, WATCHERS.get(name))
        return self._seats[name]

    def all(self) -> list[Seat]:
        """By their names."""
        return [self._seats[name] for name in sorted(self._seats)]

    def of(self, connection: int) -> Seat | None:
        """Of the watcher that is connected there."""
        return self._connections.get(connection)

    def was_cut(self, connection: int) -> bool:
        """Whether the connection was ended from here."""
        return connection in self._cut

    def connect(self, connection: int, said: object) -> None:
        """The first message of a watcher, without its key."""
        try:
            declaration = declared(said if isinstance(said, dict) else {})
        except BadDeclaration as why:
            refused = str(why)
        else:
            refused = self._sit_down(connection, declaration)
        if refused:
            self._desk.answer(connection, refused=refused)
            self._desk.put(HangUp(connection))
            self._cut.add(connection)

    def gone(self, connection: int) -> bool:
        """The connection has ended. False: it was no watcher's."""
        self._cut.discard(connection)
        seat = self._connections.pop(connection, None)
        if seat is not None:
            seat.gone()
        return seat is not None

    def ended(self, given: CommandEnded) -> bool:
        """A program has ended. False: it was no watcher's."""
        for seat in self._seats.values():
            if seat.number == given.number:
                seat.ended(given)
                return True
        return False

    def time_passed(self, needs: Callable[[str], bool]) -> None:
        """needs: whether an event that is enabled needs the watcher with that name."""
        for name, seat in list(self._seats.items()):
            needed = needs(name)
            seat.time_passed(needed=needed)
            if seat.state is WatcherState.ABSENT and not needed:
                del self._seats[name]
        for connection, seat in list(self._connections.items()):
            if seat.connection != connection:
                del self._connections[connection]
                self._cut.add(connection)

    def shown(self, events: Callable[[str], list[str]]) -> list[dict[str, Any]]:
        """For `list`. events: the names of those that a watcher watches for."""
        return [
            {
                "name": seat.name,
                "state": seat.state.value,
                "why": seat.why,
                "comes_with_the_system": seat.comes_with_the_system,
                "failures": seat.failures,
                "events": events(seat.name),
            }
            for seat in self.all()
        ]

    def _sit_down(self, connection: int, declaration: Declaration) -> str:
        if len(self._connections) >= self._desk.limits.watchers:
            return f"{len(self._connections)} watchers are connected (legal: at most {self._desk.limits.watchers})"
        seat = self.seat(declaration.name)
        refused = seat.connect(connection, declaration)
        if not refused:
            self._connections[connection] = seat
        return refused
