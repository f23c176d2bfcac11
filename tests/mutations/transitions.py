"""The transitions: levels, barriers, acknowledgements, and the states of a node (S4)."""

from __future__ import annotations

from typing import Any

from guestd.core.value import replace
from guestd.membership import admission, office
from guestd.membership import view as views
from guestd.membership.states import NODE_STATES, NodeState
from guestd.membership.view import Entry
from guestd.transition import coordinator
from guestd.transition.levels import ORDER_MAX
from guestd.transition.participant import Participant
from guestd.transition.seat import Seat
from guestd.transition.states import SUBSYSTEM_STATES, SubsystemState
from hil.checkers.own_level import OwnLevel
from hil.checkers.programs import ProgramsTold
from hil.checkers.states import States
from hil.checkers.steps import Steps
from hil.checkers.transitions import Transitions
from hil.sim.claims.worked_on import WorkedOn
from tests.mutations.mutant import LEAVES, POWER, Mutant
from tests.mutations.patching import Patch


def barrier_skipped(patch: Patch) -> None:
    """The master goes past the second barrier of a level."""
    next_entry = coordinator.next_entry

    def skipping(entry: Any, levels: Any) -> Any:
        following = next_entry(entry, levels)
        return next_entry(following, levels) if following.barrier else following

    patch.replace(coordinator, "next_entry", skipping)


def one_not_awaited(patch: Patch) -> None:
    """The master does not wait for the last of those who take part."""

    def hasty(view: Any, position: Any, acknowledged: Any) -> bool:
        parties = [node for node, entry in enumerate(view.entries) if entry.takes_part(position.level)]
        return bool(parties) and all(position in acknowledged.get(node, ()) for node in parties[:-1] or parties)

    patch.replace(coordinator, "is_acknowledged", hasty)


def levels_in_another_order(patch: Patch) -> None:
    """Joins take level 30 before level 20."""
    following = coordinator._following_level
    swapped = {10: 30, 30: 20, 20: 40}

    def disordered(entry: Any, levels: Any) -> int | None:
        if entry.state is NodeState.JOINING:
            return swapped.get(entry.level, following(entry, levels))
        return following(entry, levels)

    patch.replace(coordinator, "_following_level", disordered)


def leave_goes_up(patch: Patch) -> None:
    """A leave takes the levels from the bottom to the top, as a join does."""
    following = coordinator._following_level
    begin = views.begin_leave

    def upwards(entry: Any, levels: Any) -> int | None:
        if entry.state is NodeState.LEAVING:
            above: int | None = levels.above(entry.level, ORDER_MAX)
            return above
        return following(entry, levels)

    def from_the_bottom(view: Any, node: int) -> Any:
        begun = begin(view, node)
        return views.with_entry(begun, node, replace(begun.entries[node], level=0))

    patch.replace(coordinator, "_following_level", upwards)
    patch.replace(views, "begin_leave", from_the_bottom)


def forced_leave_too_high(patch: Patch) -> None:
    """A forced leave goes one level higher than the join came."""
    following = coordinator._following_level

    def beyond(entry: Any, levels: Any) -> int | None:
        if entry.state is NodeState.FORCED_LEAVING:
            reach = levels.above(entry.reach, ORDER_MAX) or entry.reach
            above: int | None = levels.above(entry.level, reach)
            return above
        return following(entry, levels)

    patch.replace(coordinator, "_following_level", beyond)


def forced_leave_not_from_the_bottom(patch: Patch) -> None:
    """A forced leave begins at level 10: the lowest level is not told."""
    force_out = views.force_out

    def higher(view: Any, node: int) -> Any:
        forced = force_out(view, node)
        return views.with_entry(forced, node, replace(forced.entries[node], level=10))

    patch.replace(views, "force_out", higher)


def recovery_not_begun_again(patch: Patch) -> None:
    """A cluster that is formed anew goes on in the middle of a forced leave, whose first steps it has not done."""
    patch.replace(views, "restart_forced_leave", lambda view, _node: view)


def join_during_a_leave(patch: Patch) -> None:
    """A node is admitted while its leave or forced leave is still processed."""
    for state in (NodeState.LEAVING, NodeState.FORCED_LEAVING):
        patch.row(NODE_STATES, state, "admit", NodeState.JOINING)
    joiners = admission.joiners

    def eager(view: Any, observer: Any) -> Any:
        entries = tuple(
            entry if entry.state is not NodeState.FORCED_LEAVING else replace(entry, state=NodeState.INACTIVE)
            for entry in view.entries
        )
        return joiners(replace(view, entries=entries), observer)

    patch.replace(office, "joiners", eager)


def leave_within_a_level(patch: Patch) -> None:
    """A join turns into a leave while a level still processes it."""
    patch.replace(office, "level_is_complete", lambda _view, _subject, _levels, _acknowledged: True)


def acknowledged_at_once(patch: Patch) -> None:
    """A node acknowledges each step as soon as its subsystems are told of it, and does not wait for them."""
    patch.replace(Participant, "_settle", lambda self: self._acknowledged.update(self._seen))


def not_told_again(patch: Patch) -> None:
    """A subsystem that has a join or a leave under way is not told of the forced leave."""
    for state in (SubsystemState.JOINING, SubsystemState.LEAVING):
        patch.row(SUBSYSTEM_STATES, state, "forced-leave", None)


def told_after_its_own_leave(patch: Patch) -> None:
    """A subsystem that has acknowledged its own node's leave stays registered."""
    patch.replace(Participant, "_count", lambda self, seat, done: [self._step(seat, position) for position in done])


def told_before_its_own_join(patch: Patch) -> None:
    """A level is told of the others before its own node's join has come to it."""
    see = Participant.see

    def early(self: Participant, view: Any) -> Any:
        own = view.entries[self._node]
        if own.state is NodeState.JOINING:
            view = views.with_entry(view, self._node, replace(own, reach=ORDER_MAX))
        return see(self, view)

    patch.replace(Participant, "see", early)


def states_not_looked_at(patch: Patch) -> None:
    """A forced leave is told to a subsystem that has never heard of that node's join."""
    enter = Seat.enter

    def careless(self: Seat, position: Any) -> bool:
        told = enter(self, position)
        return told or (self.registered and position.state is NodeState.FORCED_LEAVING and position.barrier == 0)

    patch.replace(Seat, "enter", careless)


def joined_at_once(patch: Patch) -> None:
    """The join of a node is over after its first level."""
    next_entry = coordinator.next_entry

    def short(entry: Entry, levels: Any) -> Any:
        if entry.state is NodeState.JOINING and entry.level >= 10:
            return replace(entry, state=NodeState.JOINED, barrier=0, reach=254)
        return next_entry(entry, levels)

    patch.replace(coordinator, "next_entry", short)


MUTANTS = (
    Mutant(barrier_skipped, (States.claim, Transitions.claim), {"weights": POWER}),
    Mutant(one_not_awaited, (Steps.claim,), {"weights": POWER, "programs": 3}),
    Mutant(levels_in_another_order, (States.claim, Transitions.claim), {"weights": POWER}),
    Mutant(leave_goes_up, (States.claim, Transitions.claim), {"weights": LEAVES}),
    Mutant(forced_leave_too_high, (States.claim,), {"weights": (*POWER, ("leave", 3))}),
    Mutant(forced_leave_not_from_the_bottom, (States.claim,)),
    Mutant(recovery_not_begun_again, (States.claim,), {"weights": POWER, "fault_every_ms": 700, "programs": 3}),
    Mutant(join_during_a_leave, (States.claim,)),
    Mutant(leave_within_a_level, (WorkedOn.claim, ProgramsTold.claim), {"weights": LEAVES, "programs": 3}),
    Mutant(acknowledged_at_once, (WorkedOn.claim, ProgramsTold.claim), {"programs": 3}),
    Mutant(not_told_again, (ProgramsTold.claim, Transitions.claim), {"programs": 3}),
    Mutant(told_after_its_own_leave, (OwnLevel.claim,), {"weights": LEAVES, "programs": 3}),
    Mutant(told_before_its_own_join, (OwnLevel.claim,)),
    Mutant(states_not_looked_at, (ProgramsTold.claim,), {"programs": 3}),
    Mutant(joined_at_once, (States.claim,)),
)
