"""One subsystem's place in a node's transitions: what it thinks of every node, and what it has not acknowledged."""

from __future__ import annotations

from guestd.membership.position import Position
from guestd.membership.states import NodeState
from guestd.transition.states import SUBSYSTEM_STATES, SubsystemState
from guestd.transition.subsystem import Notification

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.membership.view import Entry
    from guestd.transition.levels import Level
    from guestd.transition.subsystem import Subsystem


class Seat:
    """Mutable; one per registered subsystem."""

    __slots__ = (
        "caught_up",
        "held",
        "late",
        "late_joins",
        "level",
        "open",
        "registered",
        "states",
        "subsystem",
        "waited",
    )

    def __init__(self, subsystem: Subsystem, nodes: int, *, late: bool) -> None:
        """late: it registered at run time, and is taken through the joins that it has not processed (spec S4.12)."""
        self.subsystem = subsystem
        self.level: Level = subsystem.level
        self.late = late
        self.states = [SubsystemState.INACTIVE] * nodes
        self.registered = True  # until it has acknowledged its own node's leave (spec S4.9)
        self.open: dict[int, Position] = {}  # by subject: notified and not acknowledged
        self.waited: dict[int, int] = {}  # by subject: for how long (ms)
        self.held: dict[int, Position] = {}  # by subject: a leave that waits for the end of the late join
        self.late_joins: dict[int, Position] = {}  # by subject: where its late join stands
        self.caught_up = 0  # barriers of the late joins that it has acknowledged

    def enter(self, position: Position) -> bool:
        """A transition has come to this level; whether the subsystem is to be told now: see `held`."""
        subject = position.subject
        if not self.registered:
            return False
        if subject in self.late_joins:
            if position.state is NodeState.LEAVING:
                self.held[subject] = position
                return False
            self.late_joins.pop(subject)  # a forced leave aborts it
        self.open.pop(subject, None)
        state = self.states[subject]
        if position.barrier > 0:
            return state.value == position.state.value  # told of the first barrier, or found between the two
        if not SUBSYSTEM_STATES.takes(state, position.transition) and position.state is not NodeState.JOINING:
            return False  # never heard of its join, or done with its leave: nothing to do here
        self.states[subject] = SUBSYSTEM_STATES.next(state, position.transition)
        return True

    def waits_for(self, position: Position) -> bool:
        """Whether that position is not acknowledged because of this subsystem."""
        subject = position.subject
        return self.open.get(subject) == position or self.held.get(subject) == position

    def expect(self, positions: list[Position]) -> None:
        """The subsystem is about to be told of these: from now on the node waits for it."""
        for position in positions:
            self.open[position.subject] = position
            self.waited[position.subject] = 0

    def begin_anew(self, positions: tuple[Position, ...]) -> None:
        """The subsystem works on these: the time that the node has waited for them begins anew (spec S4.13)."""
        for position in positions:
            if self.open.get(position.subject) == position:
                self.waited[position.subject] = 0

    def notify(self, positions: list[Position]) -> list[Position]:
        """Tell the subsystem; returns what it acknowledged at once."""
        return self.acknowledge(self.subsystem.notify(Notification(tuple(positions), tuple(self.states))))

    def acknowledge(self, positions: tuple[Position, ...]) -> list[Position]:
        """The subsystem is done with these; returns those that still count: what was re-notified does not (S4.7)."""
        counted = [position for position in positions if self.open.get(position.subject) == position]
        for position in counted:
            del self.open[position.subject]
        return counted

    def leave(self) -> None:
        """Its own node's leave is acknowledged: it is told nothing any more, and waited for no more (spec S4.9)."""
        self.registered = False
        for known in (self.open, self.waited, self.held, self.late_joins):
            known.clear()

    def is_last(self, position: Position) -> bool:
        """Whether that is the last barrier of the transition here."""
        return position.barrier + 1 >= self.level.barriers_of(position.transition)

    def follow(self, subject: int, entry: Entry) -> None:
        """Complete the transition of that node that a newer view shows as over at this level."""
        state = self.states[subject]
        late = subject in self.late_joins and entry.live
        if state in _UNDER_WAY and not late and _is_over(state, entry, self.level.order):
            self.forget_position(subject)
            self.states[subject] = SUBSYSTEM_STATES.next(state, "complete")

    def forget(self, subject: int) -> None:
        """A new life of that node: nothing is known of it."""
        self.forget_position(subject)
        self.states[subject] = SubsystemState.INACTIVE

    def forget_position(self, subject: int) -> None:
        """Nothing is awaited for that node any more."""
        for known in (self.open, self.waited, self.held, self.late_joins):
            known.pop(subject, None)

    def find(self, subject: int, entry: Entry) -> None:
        """The state of another node as this node finds it when it is admitted."""
        self.states[subject] = _as_found(entry, self.level.order)


_UNDER_WAY = (SubsystemState.JOINING, SubsystemState.LEAVING, SubsystemState.FORCED_LEAVING)


def _is_over(state: SubsystemState, entry: Entry, order: int) -> bool:
    """Whether what this subsystem has under way is complete, by what the view says of that node."""
    now = entry.state
    if state is SubsystemState.JOINING:
        # A leave begins only between levels, so the level that it begins at has completed the join.
        return now in (NodeState.JOINED, NodeState.LEAVING) or (now is NodeState.JOINING and order < entry.level)
    if state is SubsystemState.LEAVING:
        above = entry.level if now is NodeState.LEAVING else entry.reach
        return now is NodeState.INACTIVE or (now.transition in ("leave", "forced-leave") and order > above)
    return now is NodeState.INACTIVE or (now is NodeState.FORCED_LEAVING and order < entry.level)


def _as_found(entry: Entry, order: int) -> SubsystemState:
    """The state that the next notification about that node finds here."""
    if order == entry.level and entry.barrier > 0:
        return SubsystemState(entry.state.value)  # this node comes in between two barriers of that level
    if entry.state is NodeState.JOINED:
        joined = True
    elif entry.state is NodeState.JOINING:
        joined = order < entry.level
    elif entry.state is NodeState.LEAVING:
        joined = order <= entry.level
    else:
        joined = entry.state is NodeState.FORCED_LEAVING and entry.level <= order <= entry.reach
    return SubsystemState.JOINED if joined else SubsystemState.INACTIVE
