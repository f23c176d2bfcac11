"""The lock manager as the subsystem at level 10: from the notifications of the framework to its changes, and back.

Beside what every subsystem is told, it has to be shown each view before its notifications are given (`see`): for the
lives of the members, to which its channels lead, and because it ends what it holds back after a dead node only when the
levels above it, which are told later, have recovered everywhere: for locks of guestd's own levels those, for locks of
programs all. The state of level 10 itself says nothing of that.

And there is a forced leave of which some nodes are told at this level and some are not: of a node that died in its
join, of which these had not heard when it was over. Those who are told re-spread, so the others take part unasked.
"""

from __future__ import annotations

from guestd.dlm.change import BARRIERS, SPREAD, Change
from guestd.dlm.desk import LockDesk
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
OWN_UP_TO = 30  # guestd's own levels, of whose locks this is the manager too; those above are programs

_STATES = {"join": NodeState.JOINING, "leave": NodeState.LEAVING, "forced-leave": NodeState.FORCED_LEAVING}
_MEMBERS = (SubsystemState.JOINED, SubsystemState.LEAVING, SubsystemState.FORCED_LEAVING)


class LockLevel(Subsystem):
    """One life of one node; its lock manager is there as soon as its own join has come to the level."""

    __slots__ = (
        "_below",
        "_cluster_id",
        "_incarnations",
        "_node",
        "_recovering",
        "_spreading",
        "_told",
        "_unasked",
        "desk",
        "left",
        "manager",
    )

    def __init__(self, cluster_id: bytes, node: int) -> None:
        super().__init__("DLM", order=ORDER, barriers=dict.fromkeys(_STATES, BARRIERS), real=True)
        self._cluster_id = cluster_id
        self._node = node
        self._incarnations: list[int] = []
        self._recovering: list[tuple[int, int]] = []
        self._below: list[tuple[int, int]] = []  # those of them after which a level of guestd's own has to recover
        self._spreading: list[Change] = []  # forced leaves that are at the second barrier of this level
        self._told: dict[int, Change] = {}  # by node: the last change that this level was told to re-spread for
        self._unasked: list[Change] = []  # in which it takes part although it was not told
        self.manager: LockManager | None = None
        self.desk: LockDesk | None = None  # where the users of its locks ask
        self.left = False  # this node's own leave has come through this level: there are no locks any more

    def see(self, view: View) -> None:
        """A newer view, before this level is notified of what is new in it."""
        self._incarnations = [entry.incarnation for entry in view.entries]
        self._recovering = [
            (node, entry.incarnation)
            for node, entry in enumerate(view.entries)
            if entry.state is NodeState.FORCED_LEAVING and entry.reach >= ORDER
        ]
        self._below = [
            (node, incarnation) for node, incarnation in self._recovering if view.entries[node].level <= OWN_UP_TO
        ]
        self._spreading = [
            Change(node, entry.incarnation, "forced-leave")
            for node, entry in enumerate(view.entries)
            if entry.state is NodeState.FORCED_LEAVING and (entry.level, entry.barrier) == (ORDER, SPREAD)
        ]
        if self.manager is None:
            return
        self.manager.recovering(self._recovering, self._below)
        leaving = [entry for entry in view.entries if entry.state is NodeState.LEAVING]
        if not any((entry.level, entry.barrier) == (ORDER, SPREAD) for entry in leaving):
            self.manager.no_leave_spreads()
        for change in [one for one in self._unasked if one not in self._spreading]:
            self._unasked.remove(change)
            self.manager.passed(change)

    def notify(self, notification: Notification) -> tuple[Position, ...]:
        """Changes have come to this level; they are acknowledged at once, or with `acknowledged` later."""
        if self.manager is None:
            self._begin(notification)
        assert self.manager is not None, "it was just made"
        steps = [(Change(at.subject, at.incarnation, at.transition), at.barrier) for at in notification.positions]
        for change, barrier in steps:
            if barrier == SPREAD:
                self._told[change.node] = change
        self.manager.told(steps)
        return tuple(_position(step) for step in self.manager.take_acknowledged())

    def acknowledged(self) -> tuple[Position, ...]:
        """What has been done since it was last asked. To be asked after every input of the lock manager, and after each
        view when its notifications have been given."""
        if self.manager is None:
            return ()
        unasked = [change for change in self._spreading if self._told.get(change.node) != change]
        for change in unasked:
            self._told[change.node] = change
        self._unasked += unasked
        if unasked:
            self.manager.told([(change, SPREAD) for change in unasked])
        return tuple(_position(step) for step in self.manager.take_acknowledged())

    def ended(self) -> None:
        """Its own leave is acknowledged."""
        self.left = True

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
        manager.recovering(self._recovering, self._below)
        self.manager, self.desk = manager, LockDesk(manager)


def _position(step: Step) -> Position:
    change, barrier = step
    return Position(change.node, change.incarnation, _STATES[change.kind], ORDER, barrier)
