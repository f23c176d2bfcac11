"""A node's own side of the transitions: which subsystem is told what, and what it has acknowledged.

Fed with each newer view. Keeps, for each level, the state of every node (the table of spec S4.7), so that a subsystem
is told each step once and in order, and so that what it may not be told (a forced leave of a node whose join it never
heard of, spec S4.11) is acknowledged for it.

A level is told of nothing before this node's own join has come to it; with its join it finds what became of the others
meanwhile, and is told of what is under way there (spec S4.3, S4.5).
"""

from __future__ import annotations

from guestd.core.value import Value
from guestd.membership.position import Position, position_of
from guestd.membership.states import NodeState
from guestd.transition.states import SUBSYSTEM_STATES, SubsystemState
from guestd.transition.subsystem import Notification

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.membership.view import Entry, View
    from guestd.transition.levels import Levels
    from guestd.transition.subsystem import Subsystem


class Progress(Value):
    """What happened at the subsystems because of one view."""

    notified: tuple[Position, ...]
    acknowledged: tuple[Position, ...]


class Participant:
    """The subsystems of one node, from its admission on."""

    def __init__(self, node: int, nodes: int, levels: Levels, subsystems: list[Subsystem]) -> None:
        """subsystems: one per level, in the order of the levels."""
        self._node = node
        self._levels = levels
        self._subsystems = subsystems
        self._states = [[SubsystemState.INACTIVE] * nodes for _ in subsystems]
        self._incarnations = [0] * nodes
        self._seen: dict[int, Position] = {}  # the position last handed to a subsystem, by subject
        self._acknowledged: dict[int, Position] = {}
        self._registered = [True] * len(subsystems)
        self._joined_levels = 0  # that the own join has come to

    def begin(self, view: View) -> None:
        """Take over the states of the others as this node finds them when it is admitted (spec S4.3)."""
        for subject, entry in enumerate(view.entries):
            if subject != self._node:
                self._incarnations[subject] = entry.incarnation
                self._find(subject, entry)

    def _find(self, subject: int, entry: Entry) -> None:
        """The state of another node at the levels that the own join has not come to yet: they were told nothing."""
        for index in range(self._joined_levels, len(self._states)):
            self._states[index][subject] = _as_found(entry, index)

    def acknowledged(self) -> tuple[Position, ...]:
        """For the datagrams: the newest acknowledged position of each node in transition."""
        return tuple(self._acknowledged[subject] for subject in sorted(self._acknowledged))

    def states(self, subject: int) -> list[SubsystemState]:
        """What this node's subsystems think of that node, by level index."""
        return [states[subject] for states in self._states]

    def see(self, view: View) -> Progress:
        """Bring the subsystems up to a newer view."""
        due: dict[int, list[Position]] = {}
        acknowledged: list[Position] = []
        own = view.entries[self._node]
        for subject, entry in enumerate(view.entries):
            self._complete_passed(subject, entry)
            if subject != self._node:
                self._find(subject, entry)
            position = position_of(subject, entry)
            if position is None:
                self._seen.pop(subject, None)
                self._acknowledged.pop(subject, None)
            elif own.takes_part(position.level) and self._seen.get(subject) != position:
                self._seen[subject] = position
                if self._enter(position):
                    due.setdefault(position.level, []).append(position)
                else:
                    self._acknowledged[subject] = position
        if own.state.live:
            self._joined_levels = max(self._joined_levels, own.reach + 1)
        notified = [position for index in sorted(due) for position in due[index]]
        for index in sorted(due):
            acknowledged += self._notify(index, due[index])
        return Progress(tuple(notified), tuple(acknowledged))

    def _enter(self, position: Position) -> bool:
        """Change this level's state of the subject; whether its subsystem is to be told."""
        states = self._states[position.level]
        state = states[position.subject]
        if not self._registered[position.level]:
            return False
        if position.barrier > 0:
            return True
        if not SUBSYSTEM_STATES.takes(state, position.transition) and position.state is NodeState.FORCED_LEAVING:
            return False  # never heard of its join, or done with its leave: nothing to recover here
        states[position.subject] = SUBSYSTEM_STATES.next(state, position.transition)
        return True

    def _notify(self, index: int, positions: list[Position]) -> list[Position]:
        states = tuple(self._states[index])
        done = self._subsystems[index].notify(Notification(tuple(positions), states))
        return [position for position in done if self.acknowledge(position)]

    def acknowledge(self, position: Position) -> bool:
        """A subsystem has processed what it was notified of, at once or later; False if that was aborted meanwhile."""
        if self._seen.get(position.subject) != position:
            return False
        self._acknowledged[position.subject] = position
        last = position.barrier + 1 >= self._levels[position.level].barriers_of(position.transition)
        if position.subject == self._node and position.state is NodeState.LEAVING and last:
            self._registered[position.level] = False  # spec S4.9
        return True

    def _complete_passed(self, subject: int, entry: Entry) -> None:
        """Complete the transitions that this view shows as over at a level."""
        if entry.incarnation != self._incarnations[subject]:
            self._incarnations[subject] = entry.incarnation
            for states in self._states:
                states[subject] = SubsystemState.INACTIVE
        for index, states in enumerate(self._states):
            if states[subject] in _UNDER_WAY and _is_over(states[subject], entry, index):
                states[subject] = SUBSYSTEM_STATES.next(states[subject], "complete")


_UNDER_WAY = (SubsystemState.JOINING, SubsystemState.LEAVING, SubsystemState.FORCED_LEAVING)


def _is_over(state: SubsystemState, entry: Entry, index: int) -> bool:
    """Whether what this subsystem has under way is complete, by what the view says of that node."""
    now = entry.state
    if state is SubsystemState.JOINING:
        # A leave begins only between levels, so the level that it begins at has completed the join.
        return now in (NodeState.JOINED, NodeState.LEAVING) or (now is NodeState.JOINING and index < entry.level)
    if state is SubsystemState.LEAVING:
        above = entry.level if now is NodeState.LEAVING else entry.reach
        return now is NodeState.INACTIVE or (now.transition in ("leave", "forced-leave") and index > above)
    return now is NodeState.INACTIVE or (now is NodeState.FORCED_LEAVING and index < entry.level)


def _as_found(entry: Entry, index: int) -> SubsystemState:
    """The state that the next notification about that node finds here."""
    if index == entry.level and entry.barrier > 0:
        return SubsystemState(entry.state.value)  # this node comes in between two barriers of that level
    if entry.state is NodeState.JOINED:
        joined = True
    elif entry.state is NodeState.JOINING:
        joined = index < entry.level
    elif entry.state is NodeState.LEAVING:
        joined = index <= entry.level
    else:
        joined = entry.state is NodeState.FORCED_LEAVING and entry.level <= index <= entry.reach
    return SubsystemState.JOINED if joined else SubsystemState.INACTIVE
