"""A set of numbers as disjoint spans."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Spans:
    """Spans from a start up to, and without, an end."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, number: int) -> bool:
        return self.overlaps(number, number + 1)

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any number of this span is in the set."""
        following = bisect_left(self._starts, end)
        return start < end and following > 0 and self._ends[following - 1] > start

    def add(self, start: int, end: int) -> None:
        """All numbers of this span."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        following = bisect_right(self._starts, end)
        if first < following:  # it touches these
            start = min(start, self._starts[first])
            end = max(end, self._ends[following - 1])
        self._starts[first:following] = [start]
        self._ends[first:following] = [end]
