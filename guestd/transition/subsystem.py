"""What the framework expects of a subsystem, and a subsystem that only acknowledges."""

from __future__ import annotations

from guestd.core.value import Value
from guestd.transition.levels import Level, level
from guestd.transition.states import SubsystemState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guestd.membership.position import Position
    from guestd.membership.view import View


class Notification(Value):
    """What a subsystem is told at once (spec S4.3)."""

    positions: tuple[Position, ...]  # the transitions to process now; several nodes', of any type
    states: tuple[SubsystemState, ...]  # of every configured node for this subsystem


class Subsystem:
    """One subsystem of a node. This one does nothing and acknowledges at once; a real one overrides `notify`."""

    __slots__ = ("level",)

    def __init__(self, name: str, order: int, barriers: Mapping[str, int] | None = None, *, real: bool = False) -> None:
        """barriers: transition -> count, 1 for those not named. Raises ValueError for an illegal count."""
        self.level: Level = level(order, name, barriers or {}, real=real)

    def notify(self, notification: Notification) -> tuple[Position, ...]:
        """Process the transitions; returns those that are acknowledged already."""
        return notification.positions

    def see(self, view: View) -> None:
        """A newer view, before anything that is new in it is notified."""

    def acknowledged(self) -> tuple[Position, ...]:
        """What it is done with since it was last asked, of what it did not acknowledge at once."""
        return ()

    def ended(self) -> None:
        """It has acknowledged its own node's leave, and is told nothing any more (spec S4.9)."""
