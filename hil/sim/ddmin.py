"""The least part of a list that still fails: the minimizing delta debugging algorithm.

Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE Transactions on Software Engineering
28(2), 2002, figure 5. The result is 1-minimal: none of its items can be left out alone. It takes at most
``(n * n + 3 * n)`` questions for ``n`` items, and about ``2 * log2(n)`` where one item is to blame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def ddmin(items: Sequence[T], fails: Callable[[list[T]], bool]) -> list[T]:
    """A part of ``items``, in their order, that fails, and of which no item can be left out. ``items`` must fail."""
    kept = list(items)
    if not kept or fails([]):
        return []
    count = 2
    while len(kept) > 1:
        parts = _split(kept, count)
        smaller = next((part for part in parts if fails(part)), None)
        if smaller is not None:
            kept, count = smaller, 2
            continue
        # With two parts a complement is the other part, which has been asked for already.
        rests = [[item for other in parts if other is not part for item in other] for part in parts]
        smaller = next((rest for rest in rests if fails(rest)), None) if count > 2 else None
        if smaller is not None:
            kept, count = smaller, max(count - 1, 2)
        elif count == len(kept):
            break
        else:
            count = min(len(kept), 2 * count)
    return kept


def _split(items: list[T], count: int) -> list[list[T]]:
    """Into so many parts, as equal as can be."""
    count = min(count, len(items))
    ends = [round(index * len(items) / count) for index in range(count + 1)]
    return [items[begin:end] for begin, end in pairwise(ends)]
