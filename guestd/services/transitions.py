"""What the transitions of nodes ask of one event manager (spec S4, S9.9): when each is processed."""

from __future__ import annotations

from guestd.events.effects import Acknowledge, Working
from guestd.services.service import NOWHERE
from guestd.services.states import InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.core.value import Value
    from guestd.notification import Notification
    from guestd.services.database import Database
    from guestd.services.view import View

WORKING_MS = 1000  # between two words that a notification is being worked on
MOVING = (InstanceState.STARTING, InstanceState.STOPPING, InstanceState.RECOVERING)


class Transitions:
    """Those that this one was notified of and has not acknowledged. Effects go into the list that is handed in."""

    def __init__(self, node: int, view: View, database: Database, effects: list[Value]) -> None:
        self._node = node
        self._view = view
        self._database = database
        self._effects = effects
        self._told: list[Notification] = []
        self._working_ms = 0

    def notified(self, told: Notification) -> None:
        """The framework wants these processed."""
        self._view.notified(told)
        self._told.append(told)

    def acknowledge(self, *, signed: bool, unavailable: bool) -> bool:
        """All that is processed; whether there was one. signed: this event manager takes part. unavailable: there is no
        database."""
        some = False
        for told in list(self._told):
            # Without a database, who has never read it has nothing to do.
            idle = unavailable and not signed
            if idle or all(
                self._is_processed(one.node, one.incarnation, one.transition, signed) for one in told.transitions
            ):
                self._told.remove(told)
                self._view.acknowledged(told)
                self._effects.append(Acknowledge(told.number))
                some = True
        return some

    def say_working(self, now_ms: int, *, signed: bool, busy: bool) -> None:
        """What is left is others' work, or that of a command; busy: or this event manager's own. Said now and then."""
        if not self._told or now_ms - self._working_ms < WORKING_MS:
            return
        if busy or self._is_moving() or (signed and self._awaits_another()):
            self._working_ms = now_ms
            self._effects += [Working(told.number) for told in self._told]

    def _awaits_another(self) -> bool:
        """Whether another node is still to sign off (spec S4.13).

        If its event manager hangs that costs that node, and its forced leave interrupts its leave then. It is not to
        cost this one as well, which has waited as long.
        """
        return any(
            one.transition == "leave" and one.node != self._node and self._view.lives(one.node, one.incarnation)
            for told in self._told
            for one in told.transitions
        )

    def _is_processed(self, node: int, incarnation: int, transition: str, signed: bool) -> bool:
        if transition == "join":
            return node != self._node or signed
        if not signed:
            return False
        member = self._database.members.get(node)
        here = member is not None and member.incarnation == incarnation
        if transition == "leave":
            if not self._view.lives(node, incarnation):
                return True  # a forced leave has interrupted it: it signs off no more
            # It signs itself off, when it has nothing any more; a stop or a start may take its time.
            return member is not None and (member.incarnation > incarnation or (here and member.left))
        lost = any(
            (one.node, one.incarnation) == (node, incarnation)
            for service in self._database.services.values()
            for one in service.instances
        )
        return not lost and (not here or (member is not None and member.forced_out))

    def _is_moving(self) -> bool:
        return any(
            one.state in MOVING and one.node != NOWHERE
            for service in self._database.services.values()
            for one in service.instances
        )
