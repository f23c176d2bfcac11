"""A change of the members as the lock manager is told of it: first to stop, then to re-spread (spec S4, S7.1)."""

from __future__ import annotations

from guestd.core.value import Value

KINDS = ("join", "leave", "forced-leave")
"""In the order in which one life may undergo them; the place is the code in messages."""

STOP, SPREAD = 0, 1
"""The two barriers of each change. No node is at the second before all have acknowledged the first."""

BARRIERS = 2


class Change(Value):
    """One life of one node comes or goes."""

    node: int
    incarnation: int
    kind: str  # one of KINDS

    @property
    def age(self) -> tuple[int, int]:
        """Later changes of the same node compare greater."""
        return (self.incarnation, KINDS.index(self.kind))
