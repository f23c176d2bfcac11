"""The levels: which subsystems are registered with what order and how many barriers (spec S4.1).

A level is named by its order everywhere: in positions, in the view, on the disk. So one that is registered at run time,
between two others, changes the name of none.
"""

from __future__ import annotations

from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TRANSITIONS = ("join", "leave", "forced-leave")
BARRIERS_ONE = (("forced-leave", 1), ("join", 1), ("leave", 1))
BARRIERS_MAX = 16
ORDER_MAX = 253

# No subsystem has this order. It is a joined node's reach: whatever is registered now or later. And the leave of a
# joined node begins here: before the master looks for the highest level, every live node has answered once, and so has
# told what is registered with it.
ABOVE_ALL = 254


class Level(Value):
    """One level. All nodes must have the same barriers; the name is that of a subsystem at it."""

    order: int  # lower numbers are lower levels; 0 is the membership manager itself
    name: str
    barriers: tuple[tuple[str, int], ...] = BARRIERS_ONE  # (transition, barriers), 1 or more for each
    real: bool = False  # False: it only acknowledges

    def barriers_of(self, transition: str) -> int:
        """How many barriers this level has in that transition."""
        for name, count in self.barriers:
            if name == transition:
                return count
        raise KeyError(transition)


def level(order: int, name: str, barriers: Mapping[str, int], *, real: bool) -> Level:
    """A level with one barrier for each transition that `barriers` does not name. Raises ValueError."""
    if not 0 <= order <= ORDER_MAX:
        raise ValueError(f"{name}: order {order} (legal: 0 to {ORDER_MAX})")
    for transition, count in barriers.items():
        if transition not in TRANSITIONS or not 1 <= count <= BARRIERS_MAX:
            legal = f"1 to {BARRIERS_MAX} for {', '.join(TRANSITIONS)}"
            raise ValueError(f"{name}: {count} barriers for {transition!r} (legal: {legal})")
    counts = tuple((transition, barriers.get(transition, 1)) for transition in sorted(TRANSITIONS))
    return Level(order, name, counts, real)


class Levels:
    """The levels by their order."""

    __slots__ = ("_by_order", "orders")

    def __init__(self, levels: Iterable[Level]) -> None:
        """Raises ValueError if two levels have the same order or there is no level 0."""
        listed = list(levels)
        self._by_order = {one.order: one for one in listed}
        self.orders = sorted(self._by_order)
        if self.orders[:1] != [0] or len(self.orders) != len(listed):
            raise ValueError(f"levels {[one.order for one in listed]} (legal: distinct orders, with 0 among them)")

    def __len__(self) -> int:
        return len(self.orders)

    def __iter__(self) -> Iterator[Level]:
        return (self._by_order[order] for order in self.orders)

    def __contains__(self, order: int) -> bool:
        return order in self._by_order

    def __getitem__(self, order: int) -> Level:
        """The level with that order. One at which nobody is registered (any more) has one barrier each."""
        return self._by_order.get(order) or Level(order, f"level {order}")

    def with_others(self, others: Iterable[Level]) -> Levels:
        """These, and those of the others whose order is not among them."""
        found = dict(self._by_order)
        for one in others:
            found.setdefault(one.order, one)
        return Levels(found.values())

    def above(self, order: int, last: int) -> int | None:
        """The next order above that one, but not above `last`."""
        return next((one for one in self.orders if order < one <= last), None)

    def below(self, order: int) -> int | None:
        """The next order below that one."""
        return next((one for one in reversed(self.orders) if one < order), None)
