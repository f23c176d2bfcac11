"""Which of two that tell of one value block knows more of it."""

from __future__ import annotations

from guestd.dlm.messages import Held, LastValue
from guestd.dlm.resource import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    Told = Held | LastValue | Resource


def is_newer(one: Told, other: Told) -> bool:
    """By how often the value was written. Of the same value, who says that it is not valid has heard of an end of a
    writer of which the other one has not: it becomes valid only by being written."""
    return _order(one) > _order(other)


def newest(told: list[Held]) -> Held:
    """Of at least one; of equals the first."""
    return max(told, key=_order)


def _order(told: Told) -> tuple[int, bool]:
    return told.sequence, not told.valid
