"""The master's side of the transitions: from what all have acknowledged to the next step of the view.

Pure: a view and the acknowledgements in, the next view out. For each node in transition: when every live node (the
subject included, if it takes part) has acknowledged the position at which it stands, it moves on to the next barrier,
the next level, or the end (spec S4.4 to S4.6). A node that joins or leaves itself is asked only at the levels at which
it is a member: a level must not process what the levels below it, on its own node, do not know of. Nodes move
independently of each other. The state on the disk is the whole state of the coordinator, so a new master simply calls
this with the newest view (spec S3.3).
"""

from __future__ import annotations

from guestd.core.value import Value, replace
from guestd.membership.position import Position, position_of
from guestd.membership.states import NODE_STATES, NodeState
from guestd.membership.view import NO_LEVEL, Entry, View, with_entry
from guestd.transition.levels import ABOVE_ALL, ORDER_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from guestd.transition.levels import Levels

    Acknowledged = Mapping[int, AbstractSet[Position]]  # node -> positions that it has acknowledged


class Advance(Value):
    """The next step: a view with the same epoch, and the positions that ended a level in it."""

    view: View
    completed: tuple[Position, ...]


def is_acknowledged(view: View, position: Position, acknowledged: Acknowledged) -> bool:
    """Whether all nodes that take part at that level have acknowledged that position.

    Where nobody takes part yet, as in a cluster that is formed anew after a power failure, a forced leave waits for the
    first join: without a subsystem to do it, its recovery would be lost.
    """
    parties = [node for node, entry in enumerate(view.entries) if entry.takes_part(position.level)]
    return bool(parties) and all(position in acknowledged.get(node, ()) for node in parties)


def level_is_complete(view: View, subject: int, levels: Levels, acknowledged: Acknowledged) -> bool:
    """Whether that node's transition stands between two levels: all have acknowledged the last barrier of this one."""
    position = position_of(subject, view.entries[subject])
    if position is None:
        return False
    last = position.barrier + 1 >= levels[position.level].barriers_of(position.transition)
    return last and is_acknowledged(view, position, acknowledged)


def advance(
    view: View, levels: Levels, acknowledged: Acknowledged, held: AbstractSet[int], *, together: bool = False
) -> Advance:
    """Move every transition on that may move. held: joining nodes that want to leave; they stop between levels (S4.8).

    together: those of one kind that stand at the same barrier move together or not at all, so that they stay one
    notification at every level (S4.3). The result has the same view if nothing moves, else one with the next step
    number.
    """
    moved = view
    completed = []
    positions = {subject: position_of(subject, view.entries[subject]) for subject in view.in_transition()}
    late = [at for at in positions.values() if at is not None and not is_acknowledged(view, at, acknowledged)]
    awaited = [(at.state, at.level, at.barrier) for at in late] if together else []
    for subject, position in positions.items():
        entry = view.entries[subject]
        if position is None or position in late or (position.state, position.level, position.barrier) in awaited:
            continue
        ends_level = level_is_complete(view, subject, levels, acknowledged)
        if ends_level and subject in held and entry.state is NodeState.JOINING:
            continue
        if ends_level and position.level != ABOVE_ALL:
            completed.append(position)
        moved = with_entry(moved, subject, next_entry(entry, levels))
    if moved is not view:
        moved = replace(moved, step=view.step + 1)
    return Advance(moved, tuple(completed))


def next_entry(entry: Entry, levels: Levels) -> Entry:
    """The entry after all have acknowledged where it stands."""
    transition = entry.state.transition
    assert transition is not None, f"{entry} has no transition under way"
    if entry.barrier + 1 < levels[entry.level].barriers_of(transition):
        return replace(entry, barrier=entry.barrier + 1)
    following = _following_level(entry, levels)
    if following is None:
        state = NODE_STATES.next(entry.state, "complete")
        if state is NodeState.JOINED:
            # Whatever is registered later is taken through this join as well (spec S4.12): nothing is out of reach.
            return replace(entry, state=state, barrier=0, reach=ABOVE_ALL)
        return replace(entry, state=state, level=NO_LEVEL, barrier=0, reach=NO_LEVEL)
    # A join has reached what it was notified of. A leave gives up the level that it has completed: a forced leave that
    # interrupts it has nothing to recover there (spec S4.11).
    reach = entry.reach if entry.state is NodeState.FORCED_LEAVING else following
    return replace(entry, level=following, barrier=0, reach=reach)


def _following_level(entry: Entry, levels: Levels) -> int | None:
    """Joins and forced leaves go up, leaves go down (spec S4.4); a forced leave stops at the reach of the join."""
    if entry.state is NodeState.LEAVING:
        return levels.below(entry.level)
    return levels.above(entry.level, entry.reach if entry.state is NodeState.FORCED_LEAVING else ORDER_MAX)
