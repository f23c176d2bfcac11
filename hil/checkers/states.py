"""Claim: from each commit to the next, every node goes on by the table of its states (S2.4), and by where it may go.

* within an epoch a transition takes the next barrier or the next level: a join and a forced leave go up, a leave goes
  down, and no built-in level is left out (S4.4); a forced leave goes no higher than the join had come (S4.11)
* a transition ends at the top, a leave at the bottom, a forced leave where the join had come to
* between two epochs an inactive node is admitted as a later life, a member begins to leave from where its join has
  come, or is forced out from the bottom; nobody is admitted whose leave or forced leave is under way (S4.10)
* who forms the cluster anew is admitted itself, whatever its former life did; all forced leaves begin at the bottom

Written from the specification: guestd's own tables and functions have no part in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from guestd.core.node import built_in_levels
from guestd.membership.states import NodeState
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.membership.view import Entry, View
    from hil.checkers.observation import Life

_ORDERS: Final = sorted(level.order for level in built_in_levels())
_LIVE: Final = (NodeState.JOINING, NodeState.JOINED, NodeState.LEAVING)
_ABOVE_ALL: Final = 254


class States(Checker):
    """The newest commit, against which the next one is held."""

    claim = "a node's state goes on by the table, between levels, from the right end (S2.4, S4.4, S4.8 to S4.11)"
    needs = (Observation.DISK, Observation.CONTENTS)

    def __init__(self) -> None:
        self._view: View | None = None

    def committed(self, node: Life, life: int, view: View) -> None:
        """Every commit, once."""
        before = self._view
        if before is not None and view.order <= before.order:
            return
        self._view = view
        if before is None:
            return
        formed = not _goes_on(before.entries[view.master], view.entries[view.master])
        for subject, (old, new) in enumerate(zip(before.entries, view.entries, strict=True)):
            if view.epoch == before.epoch:
                why = None if new == old else _why_no_step(old, new)
            elif formed and subject == view.master:
                why = _why_not_admitted(old, new)
            else:
                why = _why_no_change(old, new, formed=formed)
            if why is not None:
                self.fail(f"{view.order} after {before.order}: node {subject}: {why}: from {old} to {new}")


def _goes_on(old: Entry, new: Entry) -> bool:
    return old.state in _LIVE and old.incarnation == new.incarnation


def _why_not_admitted(old: Entry, new: Entry) -> str | None:
    if new.state is not NodeState.JOINING or (new.level, new.barrier, new.reach) != (0, 0, 0):
        return "who is admitted begins at the bottom"
    return None if new.incarnation > old.incarnation else "who is admitted is a later life"


def _why_no_change(old: Entry, new: Entry, *, formed: bool) -> str | None:
    """Between two epochs; formed: the cluster is formed anew."""
    if new.state is NodeState.JOINING and new.incarnation != old.incarnation:
        if old.state is not NodeState.INACTIVE:
            return f"admitted while it is {old.state.value} (S4.10)"
        return _why_not_admitted(old, new)
    if new.incarnation != old.incarnation:
        return "another life that was not admitted"
    if new.state is NodeState.FORCED_LEAVING and (formed or old.state is not NodeState.FORCED_LEAVING):
        if old.state is not NodeState.FORCED_LEAVING and old.state not in _LIVE:
            return "forced out without being a member"
        if (new.level, new.barrier, new.reach, new.forced) != (0, 0, old.reach, True):
            return "a forced leave begins at the bottom, and goes as far as the join had come"
        return None
    if formed and new.state in _LIVE:
        return "a member of a cluster that is formed without it"
    if new.state is NodeState.LEAVING and old.state in (NodeState.JOINING, NodeState.JOINED):
        begins = (new.level, new.barrier, new.reach) == (old.reach, 0, old.reach)
        return None if begins else "a leave begins where the join has come to"
    return None if new == old else "no change that an epoch makes"


def _why_no_step(old: Entry, new: Entry) -> str | None:
    """Within an epoch."""
    if old.state not in _ENDS or new.incarnation != old.incarnation or new.forced != old.forced:
        return "changed within an epoch, and has no transition under way"
    if new.state is old.state:
        if (new.level, new.barrier) == (old.level, old.barrier + 1):
            return None if new.reach == old.reach else "a barrier changes nothing else"
        if new.barrier:
            return "a level begins with its first barrier"
        return _why_not_next(old, new)
    if new.state is not _ENDS[old.state]:
        return "not what comes next"
    if old.state is NodeState.LEAVING:
        return "a leave ends at the bottom" if _between(-1, old.level) else None
    top = old.reach if old.state is NodeState.FORCED_LEAVING else _ABOVE_ALL
    return "it has not come to the end" if _between(old.level, top + 1) else None


def _why_not_next(old: Entry, new: Entry) -> str | None:
    low, high = sorted((old.level, new.level))
    if (new.level < old.level) is not (old.state is NodeState.LEAVING):
        return "in the wrong direction (S4.4)"
    if _between(low, high):
        return f"levels {_between(low, high)} were left out"
    if old.state is NodeState.FORCED_LEAVING:
        if new.level > old.reach:
            return "higher than its join had come (S4.11)"
        return None if new.reach == old.reach else "how far its join had come has changed"
    return None if new.reach == new.level else "it reaches as far as it has come"


def _between(low: int, high: int) -> list[int]:
    return [order for order in _ORDERS if low < order < high]


_ENDS: Final = {
    NodeState.JOINING: NodeState.JOINED,
    NodeState.LEAVING: NodeState.INACTIVE,
    NodeState.FORCED_LEAVING: NodeState.INACTIVE,
}
