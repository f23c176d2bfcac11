"""The membership as one value: what the newest commit record says of every node.

Everything here is a pure function from one view to the next. A view is ordered by (epoch, step): an epoch is won by an
election and changes who is a member; a step moves the transitions of that epoch on.
"""

from __future__ import annotations

from guestd.core.value import Value, replace
from guestd.membership.states import NODE_STATES, NodeState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

NO_MASTER = 255
NO_LEVEL = 255


class Entry(Value):
    """One node. `level` and `reach` are orders of levels."""

    state: NodeState = NodeState.INACTIVE
    incarnation: int = 0  # 0: was never a member
    level: int = NO_LEVEL  # that is being notified, if a transition is under way
    barrier: int = 0  # counted from 0, within that level
    reach: int = NO_LEVEL  # the highest level at which this incarnation is not inactive: a forced leave goes up to it
    forced: bool = False  # this incarnation's membership was ended by the others

    @property
    def live(self) -> bool:
        """As of its state. Asked for each entry of each view, so it is said once more in comparisons."""
        state = self.state
        return state is NodeState.JOINED or state is NodeState.JOINING or state is NodeState.LEAVING

    @property
    def moves(self) -> bool:
        """Whether a transition is under way; said in comparisons for the same reason."""
        state = self.state
        return state is not NodeState.JOINED and state is not NodeState.INACTIVE

    def is_life(self, incarnation: int) -> bool:
        """Whether that incarnation takes part."""
        return self.live and self.incarnation == incarnation

    def takes_part(self, level: int) -> bool:
        """Whether this node's own subsystem at that level processes transitions: its join has come that far."""
        return level <= self.reach and self.live


class View(Value):
    """The membership at (epoch, step), as its master wrote it."""

    epoch: int
    step: int
    master: int
    entries: tuple[Entry, ...]  # one per configured node

    kept = (
        "_live",
        "_mask",
        "_moving",
        "encoded",
    )  # asked for many times in each period, of a value that does not change
    if TYPE_CHECKING:  # ClassVar: no fields, for the checker
        _live: ClassVar[list[int]]
        _mask: ClassVar[int]
        _moving: ClassVar[list[int]]
        encoded: ClassVar[bytes]  # by `wire.py`

    @property
    def order(self) -> tuple[int, int]:
        """Newer views compare greater."""
        return (self.epoch, self.step)

    def is_after(self, other: View) -> bool:
        """Whether it is the newer one. Asked for each datagram and each read, so no order is made for it."""
        return self.epoch > other.epoch or (self.epoch == other.epoch and self.step > other.step)

    def live(self) -> list[int]:
        """The nodes that take part, ascending."""
        try:
            return self._live
        except AttributeError:
            live = [node for node, entry in enumerate(self.entries) if entry.live]
            object.__setattr__(self, "_live", live)
            return live

    @property
    def live_mask(self) -> int:
        """The same as a bit mask."""
        try:
            return self._mask
        except AttributeError:
            mask = sum(1 << node for node in self.live())
            object.__setattr__(self, "_mask", mask)
            return mask

    def in_transition(self) -> list[int]:
        """The nodes with a transition under way, ascending."""
        try:
            return self._moving
        except AttributeError:
            moving = [node for node, entry in enumerate(self.entries) if entry.moves]
            object.__setattr__(self, "_moving", moving)
            return moving

    def described(self) -> dict[str, dict[str, object]]:
        """For events: node id -> state and incarnation."""
        return {
            str(node): {"state": entry.state.value, "incarnation": entry.incarnation}
            for node, entry in enumerate(self.entries)
        }


def empty(nodes: int) -> View:
    """The view of a database in which nothing was ever committed."""
    return View(epoch=0, step=0, master=NO_MASTER, entries=(Entry(),) * nodes)


def with_entry(view: View, node: int, entry: Entry) -> View:
    """The view with one node's entry exchanged."""
    entries = list(view.entries)
    entries[node] = entry
    return replace(view, entries=tuple(entries))


def admit(view: View, node: int, incarnation: int) -> View:
    """Begin the join of a new incarnation, at the bottom."""
    state = NODE_STATES.next(view.entries[node].state, "admit")
    return with_entry(view, node, Entry(state=state, incarnation=incarnation, level=0, barrier=0, reach=0))


def begin_leave(view: View, node: int) -> View:
    """Begin a graceful leave at the top: where the join has come to, or above all levels if it is complete."""
    entry = view.entries[node]
    state = NODE_STATES.next(entry.state, "leave")
    return with_entry(view, node, replace(entry, state=state, level=entry.reach, barrier=0))


def force_out(view: View, node: int) -> View:
    """Begin a forced leave, at the bottom, whatever was under way (spec S4.7, S4.11)."""
    entry = view.entries[node]
    state = NODE_STATES.next(entry.state, "force")
    return with_entry(view, node, replace(entry, state=state, level=0, barrier=0, forced=True))


def restart_forced_leave(view: View, node: int) -> View:
    """The same recovery from the bottom again, for a cluster that is formed anew and has none of the former steps."""
    return with_entry(view, node, replace(view.entries[node], level=0, barrier=0))
