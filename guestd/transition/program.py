"""A subsystem that is a program of its own: what it is told goes over its connection (spec S8.6, docs/programs.md)."""

from __future__ import annotations

from guestd.core.effects import Answer
from guestd.membership.announcement import NAME_SIZE_MAX
from guestd.transition.levels import BARRIERS_MAX, ORDER_MAX, TRANSITIONS
from guestd.transition.registration import REGISTRATIONS, Registration
from guestd.transition.subsystem import Subsystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from guestd.core.context import Context
    from guestd.membership.announcement import Announcement
    from guestd.membership.position import Position
    from guestd.transition.seat import Seat
    from guestd.transition.subsystem import Notification

ON_DEATH = ("hang", "gone")


class Program(Subsystem):
    """One program. It acknowledges later, by the number of the notification."""

    __slots__ = (
        "_context",
        "_number",
        "announced",
        "connection",
        "on_death",
        "seat",
        "state",
        "successor",
        "unacknowledged",
    )

    def __init__(self, context: Context, connection: int, asked: Mapping[str, Any]) -> None:
        """asked: what came with "register". Raises ValueError, saying what is legal."""
        name, order, barriers, on_death = _checked(asked)
        super().__init__(name, order, barriers, real=True)
        self._context = context
        self._number = 0
        self.connection = connection
        self.on_death = on_death
        self.seat: Seat | None = None
        self.state = Registration.ASKING
        self.successor: Program | None = None
        """Of one that is silent: the same program, which has begun again and asks to be registered.

        Until it is, this one acknowledges what others do: its successor will be taken through the joins anew. Its own
        node's leave it does not: what it should do then, nobody has done.
        """
        self.unacknowledged: dict[int, tuple[Position, ...]] = {}
        self.announced: Announcement | None = None  # as it was last

    def notify(self, notification: Notification) -> tuple[Position, ...]:
        """Sent now, acknowledged later."""
        if self.successor is not None:
            return self.not_its_own(notification.positions)
        self._number += 1
        self.unacknowledged[self._number] = notification.positions
        transitions = [
            {"node": at.subject, "incarnation": at.incarnation, "transition": at.transition, "barrier": at.barrier}
            for at in notification.positions
        ]
        states = [state.value for state in notification.states]
        self.answer(notification={"number": self._number, "transitions": transitions, "states": states})
        return ()

    def not_its_own(self, positions: Iterable[Position]) -> tuple[Position, ...]:
        """Those of them that are not about its own node."""
        return tuple(position for position in positions if position.subject != self._context.node)

    def ended(self) -> None:
        """The program learns that nothing more will come."""
        self.enter("left")
        self.answer(closed=f"node {self._context.node} has left the cluster")

    def answer(self, **message: object) -> None:
        """Say something to the program, if there is still somebody to hear it."""
        if self.state is not Registration.SILENT:
            self._context.effects.append(Answer(self.connection, message))

    def enter(self, trigger: str) -> None:
        """Move on in the table of registrations, and tell the host."""
        self.state = REGISTRATIONS.next(self.state, trigger)
        self._context.emit(
            "program", program=self.level.name, level=self.level.order, state=self.state.value, why=trigger
        )

    def described(self) -> dict[str, Any]:
        """For the order "status"."""
        open_ = self.seat.open if self.seat else {}
        return {
            "name": self.level.name,
            "order": self.level.order,
            "barriers": dict(self.level.barriers),
            "on_death": self.on_death,
            "state": self.state.value,
            "unacknowledged": sorted(open_),  # nodes whose transition it has not acknowledged
        }


def _checked(asked: Mapping[str, Any]) -> tuple[str, int, dict[str, int], str]:
    name, order = asked.get("name"), asked.get("order")
    barriers, on_death = asked.get("barriers", {}), asked.get("on_death", "hang")
    if not isinstance(name, str) or not name.isprintable() or not 1 <= len(name.encode()) <= NAME_SIZE_MAX:
        raise ValueError(f"name = {name!r} (legal: 1 to {NAME_SIZE_MAX} bytes of printable text)")
    if type(order) is not int or not 1 <= order <= ORDER_MAX:
        raise ValueError(f"{name}: order = {order!r} (legal: 1 to {ORDER_MAX}; 0 is the membership manager itself)")
    counts = list(barriers.values()) if isinstance(barriers, dict) else [None]
    if any(type(count) is not int for count in counts):
        legal = f"1 to {BARRIERS_MAX} for {', '.join(TRANSITIONS)}"
        raise ValueError(f"{name}: barriers = {barriers!r} (legal: an object with {legal})")
    if on_death not in ON_DEATH:
        raise ValueError(f"{name}: on_death = {on_death!r} (legal: {', '.join(ON_DEATH)})")
    return name, order, barriers, on_death
