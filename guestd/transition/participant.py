"""A node's own side of the transitions: which subsystem is told what, and what this node has acknowledged.

Fed with each newer view. Each subsystem has a seat, with the state of every node (the table of spec S4.7), so that it
is told each step once and in order. The node acknowledges a step when all its subsystems at that level have; a step of
which no subsystem here is to be told (nobody is registered at that level, or it is the forced leave of a node whose
join was never heard of, spec S4.11) it acknowledges itself.

A level is told of nothing before this node's own join has come to it; with its join it finds what became of the others
meanwhile, and is told of what is under way there (spec S4.3, S4.5).

A subsystem that registers at run time finds nobody joined: it is taken through the joins that have passed its level,
late joins (spec S4.12).
All that are due are one batch. They are this node's own affair, but barrier k+1 of a batch begins, and its last barrier
ends, only when no other node with late joins at that level is behind (spec S4.5): see `catch_up`.
"""

from __future__ import annotations

from guestd.core.value import Value, replace
from guestd.membership.position import Position, position_of
from guestd.membership.states import NodeState
from guestd.transition.seat import Seat
from guestd.transition.states import SUBSYSTEM_STATES, SubsystemState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from guestd.membership.announcement import Announcement
    from guestd.membership.view import Entry, View
    from guestd.transition.levels import Level, Levels
    from guestd.transition.subsystem import Subsystem


class Step(Value):
    """A subsystem and where a transition stands for it."""

    level: Level
    position: Position
    late: bool = False  # a join that had passed this level when the subsystem registered


class Progress(Value):
    """What happened at the subsystems."""

    notified: tuple[Step, ...] = ()
    acknowledged: tuple[Step, ...] = ()
    caught_up: tuple[tuple[Level, tuple[int, ...]], ...] = ()  # late joins that are complete: (level, nodes)

    def __bool__(self) -> bool:
        return bool(self.notified or self.acknowledged or self.caught_up)


NOTHING = Progress()


class Participant:
    """The subsystems of one node, from its admission on."""

    def __init__(self, node: int, nodes: int, levels: Levels, subsystems: list[Subsystem]) -> None:
        """subsystems: those that are registered before the node joins, with their levels."""
        self._node = node
        self._nodes = nodes
        self.levels = levels
        self._seats = [Seat(subsystem, nodes, late=False) for subsystem in subsystems]
        self._entries: tuple[Entry, ...] = ()
        self._incarnations = [0] * nodes
        self._seen: dict[int, Position] = {}  # the position last seen, by subject
        self._acknowledged: dict[int, Position] = {}
        self._joined_to = -1  # the highest level that the own join has come to

    def begin(self, view: View) -> None:
        """Take over the states of the others as this node finds them when it is admitted (spec S4.3)."""
        for subject, entry in enumerate(view.entries):
            if subject != self._node:
                self._incarnations[subject] = entry.incarnation
                self._find(subject, entry)

    def acknowledged(self) -> tuple[Position, ...]:
        """For the datagrams: the newest acknowledged position of each node in transition."""
        if not self._acknowledged:
            return ()
        return tuple(self._acknowledged[subject] for subject in sorted(self._acknowledged))

    def states(self, order: int) -> list[SubsystemState]:
        """What this node's subsystem at that level thinks of every node."""
        return next(list(seat.states) for seat in self._seats if seat.level.order == order)

    def subsystems(self) -> list[Level]:
        """The registered subsystems, bottom-up, each as its level."""
        return [seat.level for seat in self._seats]

    def see(self, view: View) -> Progress:
        """Bring the subsystems up to a newer view."""
        self._entries = view.entries
        for seat in self._seats:
            seat.subsystem.see(view)
        due: dict[int, list[Position]] = {}  # by place of the seat
        own = view.entries[self._node]
        for subject, entry in enumerate(view.entries):
            self._follow(subject, entry)
            if subject != self._node:
                self._find(subject, entry)
            position = position_of(subject, entry)
            if position is None:
                self._seen.pop(subject, None)
                self._acknowledged.pop(subject, None)
            elif own.takes_part(position.level) and self._seen.get(subject) != position:
                self._seen[subject] = position
                for place, seat in enumerate(self._seats):
                    if seat.level.order == position.level and seat.enter(position):
                        due.setdefault(place, []).append(position)
        if own.live:
            self._joined_to = max(self._joined_to, own.reach)
        return self._tell([(self._seats[place], due[place]) for place in sorted(due)])

    # -- subsystems that register at run time

    @property
    def has_joined(self) -> bool:
        """Whether this node's own join is over."""
        return bool(self._entries) and self._entries[self._node].state in (NodeState.JOINED, NodeState.LEAVING)

    def is_free(self, order: int) -> bool:
        """Whether no transition stands at that level: then a subsystem may take its seat there."""
        return all(position.level != order for position in self._seen.values())

    def register(self, subsystem: Subsystem) -> Seat:
        """A seat for one more subsystem; `catch_up` takes it through the joins that have passed its level."""
        assert self.is_free(subsystem.level.order), f"a transition stands at {subsystem.level}"
        seat = Seat(subsystem, self._nodes, late=True)
        self._seats = sorted([*self._seats, seat], key=lambda one: one.level.order)  # stable: after those of its level
        return seat

    def deregister(self, seat: Seat) -> None:
        """It is gone; what it had not acknowledged counts as acknowledged."""
        self._seats.remove(seat)
        self._settle()

    def acknowledge(self, seat: Seat, positions: tuple[Position, ...]) -> Progress:
        """A subsystem is done with what it was notified of earlier."""
        acknowledged = tuple(self._count(seat, seat.acknowledge(positions)))
        self._settle()
        return Progress((), acknowledged)

    def collect(self) -> Progress:
        """Ask the subsystems what they are done with by now. To be called after all that they take in."""
        acknowledged: list[Step] = []
        for seat in self._seats:
            positions = seat.subsystem.acknowledged()
            if positions:
                acknowledged += self._count(seat, seat.acknowledge(positions))
        if not acknowledged:
            return NOTHING
        self._settle()
        return Progress((), tuple(acknowledged))

    def is_behind(self) -> bool:
        """Whether late joins are under way or due at any level that this node's own join has come to."""
        return any(
            seat.late_joins or (seat.level.order <= self._joined_to and self._passed(seat))
            for seat in self._seats
            if seat.late and seat.registered
        )

    def catch_up(self, others: Sequence[Announcement]) -> Progress:
        """Take late subsystems one step on, to be called until nothing moves. others: what the others announce."""
        for seat in self._seats:
            if not seat.late or not seat.registered:
                continue
            progress = self._go_on(seat, others) if seat.late_joins else self._start(seat, others)
            if progress:
                return progress
        return Progress()

    def caught_up(self, seat: Seat) -> int | None:
        """For the announcement: acknowledged barriers of the late joins under way."""
        return seat.caught_up if seat.late_joins else None

    def overdue(self, gap_ms: int, limit_ms: int) -> str | None:
        """Count time that the subsystems had; the name of one that has had its time for an answer (spec S4.13)."""
        for seat in self._seats:
            if not seat.open:
                continue
            for subject in seat.open:
                seat.waited[subject] += gap_ms
                if seat.waited[subject] >= limit_ms:
                    return seat.level.name
        return None

    def _start(self, seat: Seat, others: Sequence[Announcement]) -> Progress:
        """Begin a batch of late joins, when there is none at a lower level any more (spec S4.4)."""
        subjects = self._passed(seat)
        order = seat.level.order
        if order > self._joined_to or not subjects:
            return Progress()
        if any(one.level.order < order and one.caught_up is not None for one in others):
            return Progress()
        if any(one.late_joins or (one.late and self._passed(one)) for one in self._seats if one.level.order < order):
            return Progress()
        seat.caught_up = 0
        for subject in subjects:
            seat.states[subject] = SUBSYSTEM_STATES.next(seat.states[subject], "join")
            incarnation = self._entries[subject].incarnation
            seat.late_joins[subject] = Position(subject, incarnation, NodeState.JOINING, order, 0)
        return self._tell([(seat, list(seat.late_joins.values()))])

    def _go_on(self, seat: Seat, others: Sequence[Announcement]) -> Progress:
        """The next barrier of the batch, or its end."""
        if any(seat.open.get(subject) == position for subject, position in seat.late_joins.items()):
            return Progress()
        barrier = next(iter(seat.late_joins.values())).barrier
        if seat.caught_up == barrier:
            seat.caught_up += 1
            return Progress(caught_up=((seat.level, ()),))  # the others have to hear of it
        behind = [one for one in others if one.level.order == seat.level.order and one.caught_up is not None]
        if any(one.caught_up is not None and one.caught_up < seat.caught_up for one in behind):
            return Progress()
        if seat.caught_up < seat.level.barriers_of("join"):
            for subject, position in seat.late_joins.items():
                seat.late_joins[subject] = replace(position, barrier=seat.caught_up)
            return self._tell([(seat, [at for at in seat.late_joins.values() if self._entries[at.subject].live])])
        return self._complete(seat)

    def _complete(self, seat: Seat) -> Progress:
        """The late joins are over; leaves that waited for that begin now."""
        subjects = tuple(sorted(seat.late_joins))
        seat.late_joins.clear()
        for subject in subjects:
            seat.states[subject] = SUBSYSTEM_STATES.next(seat.states[subject], "complete")
        held = [seat.held.pop(subject) for subject in subjects if subject in seat.held]
        # A leave that a forced leave has interrupted meanwhile is told to nobody: that one is on its way here.
        leaves = [leave for leave in held if position_of(leave.subject, self._entries[leave.subject]) == leave]
        told = self._tell([(seat, [position for position in leaves if seat.enter(position)])])
        return replace(told, caught_up=((seat.level, subjects),))

    def _passed(self, seat: Seat) -> list[int]:
        """The nodes whose join has passed that seat's level without its subsystem; those too whose leave is on its way
        to it, and will be told."""
        passed = []
        for subject, entry in enumerate(self._entries):
            join_passed = entry.state is NodeState.JOINED or (
                entry.state in (NodeState.JOINING, NodeState.LEAVING) and entry.level > seat.level.order
            )
            if seat.registered and join_passed and seat.states[subject] is SubsystemState.INACTIVE:
                passed.append(subject)
        return passed

    # -- inner workings

    def _find(self, subject: int, entry: Entry) -> None:
        """The state of another node at the levels that the own join has not come to yet: they were told nothing."""
        for seat in self._seats:
            if seat.level.order > self._joined_to and not seat.late:
                seat.find(subject, entry)

    def _tell(self, due: list[tuple[Seat, list[Position]]]) -> Progress:
        notified: list[Step] = []
        acknowledged: list[Step] = []
        # All first, so that nobody who is told later is passed over by an acknowledgement that comes at once.
        for seat, positions in due:
            seat.expect(positions)
            notified += [self._step(seat, position) for position in positions]
        for seat, positions in due:
            if positions:
                acknowledged += self._count(seat, seat.notify(positions))
        self._settle()
        return Progress(tuple(notified), tuple(acknowledged))

    def _count(self, seat: Seat, done: list[Position]) -> list[Step]:
        for position in done:
            own_leave = position.subject == self._node and position.state is NodeState.LEAVING
            if own_leave and seat.is_last(position):
                seat.leave()
                seat.subsystem.ended()
        return [self._step(seat, position) for position in done]

    def _settle(self) -> None:
        """Acknowledge what no subsystem of this node is still busy with."""
        for subject, position in self._seen.items():
            if not any(seat.waits_for(position) for seat in self._seats if seat.level.order == position.level):
                self._acknowledged[subject] = position

    @staticmethod
    def _step(seat: Seat, position: Position) -> Step:
        return Step(seat.level, position, seat.late_joins.get(position.subject) == position)

    def _follow(self, subject: int, entry: Entry) -> None:
        """Complete what this view shows as over."""
        new_life = entry.incarnation != self._incarnations[subject]
        self._incarnations[subject] = entry.incarnation
        for seat in self._seats:
            if new_life:
                seat.forget(subject)
            else:
                seat.follow(subject, entry)
