"""The levels of a node: which subsystem is registered with what order and how many barriers (spec S4.1)."""

from __future__ import annotations

from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TRANSITIONS = ("join", "leave", "forced-leave")
BARRIERS_ONE = (("forced-leave", 1), ("join", 1), ("leave", 1))


class Level(Value):
    """One level. All nodes must have the same."""

    order: int  # lower numbers are lower levels; 0 is the membership manager itself
    name: str
    barriers: tuple[tuple[str, int], ...] = BARRIERS_ONE  # (transition, barriers), 1 or more for each
    real: bool = False  # False: it only acknowledges

    def barriers_of(self, transition: str) -> int:
        """How many barriers this level has in that transition."""
        return dict(self.barriers)[transition]


def level(order: int, name: str, barriers: Mapping[str, int], *, real: bool) -> Level:
    """A level with one barrier for each transition that `barriers` does not name. Raises ValueError."""
    for transition, count in barriers.items():
        if transition not in TRANSITIONS or not 1 <= count <= 16:
            legal = f"1 to 16 for {', '.join(TRANSITIONS)}"
            raise ValueError(f"{name}: {count} barriers for {transition!r} (legal: {legal})")
    counts = tuple((transition, barriers.get(transition, 1)) for transition in sorted(TRANSITIONS))
    return Level(order, name, counts, real)


class Levels:
    """The levels in ascending order; an index into this list is what records and positions carry."""

    __slots__ = ("_levels",)

    def __init__(self, levels: list[Level]) -> None:
        """Raises ValueError if two levels have the same order or there is no level 0."""
        self._levels = sorted(levels, key=lambda one: one.order)
        orders = [one.order for one in self._levels]
        if not orders or orders[0] != 0 or len(set(orders)) != len(orders):
            raise ValueError(f"levels {orders} (legal: distinct orders, with 0 among them)")

    def __len__(self) -> int:
        return len(self._levels)

    def __getitem__(self, index: int) -> Level:
        return self._levels[index]

    @property
    def top(self) -> int:
        """Index of the highest level."""
        return len(self._levels) - 1
