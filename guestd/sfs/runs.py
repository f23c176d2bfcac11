"""Contents of files in memory, in pieces of neighbouring blocks: a mebibyte that was written at once is one piece.

Nothing is done block by block here: on an emulated processor a step of Python for each block of 4096 bytes takes longer
than the disk does to write it.
"""

from __future__ import annotations

from bisect import bisect_right, insort

from guestd.sfs.block import BLOCK_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.keys import Key

REST_BLOCKS_MAX = 16
"""What is left of a run of which something was replaced is in runs of that many at most: so a program that goes through
a large one with small writes copies little each time."""


class Run:
    """Neighbouring blocks of the volume with what they have to hold. Never changed; it has an identity."""

    __slots__ = ("count", "data", "end", "first", "key")

    def __init__(self, key: Key, first: int, data: bytes) -> None:
        """key: the lock that guards them. data: whole blocks."""
        self.key = key
        self.first = first
        self.data = data
        self.count = len(data) // BLOCK_SIZE
        self.end = first + self.count

    def part(self, first: int, end: int) -> bytes:
        """The contents of these of its blocks: no copy if they are all."""
        return self.data[(first - self.first) * BLOCK_SIZE : (end - self.first) * BLOCK_SIZE]


class Runs:
    """Runs that do not overlap."""

    __slots__ = ("_firsts", "_runs", "count")

    def __init__(self) -> None:
        self._runs: dict[int, Run] = {}  # by the first block, in the order in which they came
        self._firsts: list[int] = []  # ascending
        self.count = 0
        """Blocks that are in it; asked for so often that a call for it would be felt."""

    def put(self, run: Run) -> None:
        """In place of what was there."""
        self.drop(run.first, run.count)
        self._add(run)

    def drop(self, first: int, count: int) -> None:
        """Take these blocks out, as far as they are in it."""
        end = first + count
        for old in self.across(first, end):
            self._take_out(old)
            for start, stop in ((old.first, first), (end, old.end)):
                for place in range(start, stop, REST_BLOCKS_MAX):
                    self._add(Run(old.key, place, old.part(place, min(stop, place + REST_BLOCKS_MAX))))

    def across(self, first: int, end: int) -> list[Run]:
        """Those that have something of the blocks from `first` to before `end`, ascending."""
        firsts, runs = self._firsts, self._runs
        place = bisect_right(firsts, first) - 1
        if place < 0 or runs[firsts[place]].end <= first:
            place += 1
        found: list[Run] = []
        while place < len(firsts) and firsts[place] < end:
            found.append(runs[firsts[place]])
            place += 1
        return found

    def block(self, number: int) -> bytes | None:
        """What that block has to hold."""
        for run in self.across(number, number + 1):
            return run.part(number, number + 1)
        return None

    def pieces(self, first: int, end: int) -> list[tuple[int, int, bytes | None]]:
        """These blocks in order: from where, to before where, and what they have to hold; None: that is not known."""
        found: list[tuple[int, int, bytes | None]] = []
        for run in self.across(first, end):
            if run.first > first:
                found.append((first, run.first, None))
                first = run.first
            stop = min(run.end, end)
            found.append((first, stop, run.part(first, stop)))
            first = stop
        if first < end:
            found.append((first, end, None))
        return found

    def lowest(self, count: int) -> list[Run]:
        """From the lowest block on, ascending, until they are so many blocks or more."""
        found: list[Run] = []
        for first in self._firsts:
            if count <= 0:
                break
            found.append(self._runs[first])
            count -= found[-1].count
        return found

    def all(self) -> list[Run]:
        """In the order in which they came."""
        return list(self._runs.values())

    def remove(self, run: Run) -> None:
        """That one, if it is still in it as it was."""
        if self._runs.get(run.first) is run:
            self._take_out(run)

    def clear(self) -> None:
        """Take everything out."""
        self._runs.clear()
        self._firsts.clear()
        self.count = 0

    def _add(self, run: Run) -> None:
        insort(self._firsts, run.first)
        self._runs[run.first] = run
        self.count += run.count

    def _take_out(self, run: Run) -> None:
        del self._runs[run.first]
        del self._firsts[bisect_right(self._firsts, run.first) - 1]
        self.count -= run.count
