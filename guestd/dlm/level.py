"""The lock manager as the subsystem at level 10: from the notifications of the framework to its changes, and back.

Beside what every subsystem is told, it has to be shown each view before its notifications are given (`see`): for the
lives of the members, to which its channels lead, and because it ends what it holds back after a dead node only when the
levels above it, which are told later, have recovered everywhere. The state of level 10 itself says nothing of that.
"""

from __future__ import annotations

from guestd.dlm.change import BARRIERS, Change
from guestd.dlm.manager import LockManager
from guestd.membership.position import Position
from guestd.membership.states import NodeState
from guestd.transition.states import SubsystemState
from guestd.transition.subsystem import Subsystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.spread import Step
    from guestd.membership.view import View
    from guestd.transition.subsystem import Notification

ORDER = 10

_STATES = {"join": NodeState.JOINING, "leave": NodeState.LEAVING, "forced-leave": NodeState.FORCED_LEAVING}
_MEMBERS = (SubsystemState.JOINED, SubsystemState.LEAVING, SubsystemState.FORCED_LEAVING)


class LockLevel(Subsystem):
    """One life of one node; its lock manager is there as soon as its own join has come to the level."""

    __slots__ = ("_cluster_id", "_incarnations", "_node", "_recovering", "manager")

    def __init__(self, cluster_id: bytes, node: int) -> None:
        super().__init__("DLM", order=ORDER, barriers=dict.fromkeys(_STATES, BARRIERS), real=True)
        self._cluster_id = cluster_id
        self._node = node
        self._incarnations: list[int] = []
        self._recovering: list[tuple[int, int]] = []
        self.manager: LockManager | None = None

    def see(self, view: View) -> None:
        """A newer view, before this level is notified of what is new in it."""
        self._incarnations = [entry.incarnation for entry in view.entries]
        self._recovering = [
            (node, entry.incarnation)
            for node, entry in enumerate(view.entries)
            if entry.state is NodeState.FORCED_LEAVING and entry.reach >= ORDER
        ]
        if self.manager is not None:
            self.manager.recovering(self._recovering)

    def notify(self, notification: Notification) -> tuple[Position, ...]:
        """Changes have come to this level; they are acknowledged at once, or with `acknowledged` later."""
        if self.manager is None:
            self._begin(notification)
        assert self.manager is not None, "it was just made"
        steps = [(Change(at.subject, at.incarnation, at.transition), at.barrier) for at in notification.positions]
        self.manager.told(steps)
        return self.acknowledged()

    def acknowledged(self) -> tuple[Position, ...]:
        """What has been done since it was last asked. To be asked after every input of the lock manager."""
        if self.manager is None:
            return ()
        return tuple(_position(step) for step in self.manager.take_acknowledged())

    def _begin(self, notification: Notification) -> None:
        """The own join has come to this level: members are those whose change, if any, has not come to its end."""
        came = {at.subject for at in notification.positions if at.transition == "join"}
        manager = LockManager(self._cluster_id, self._node, self._incarnations[self._node])
        manager.found(
            {
                node: self._incarnations[node]
                for node, state in enumerate(notification.states)
                if state in _MEMBERS and node not in came and node != self._node
            }
        )
        manager.recovering(self._recovering)
        self.manager = manager


def _position(step: Step) -> Position:
    change, barrier = step
    return Position(change.node, change.incarnation, _STATES[change.kind], ORDER, barrier)
