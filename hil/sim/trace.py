"""What happened: a digest of all of it in every run, and the story with its causes in a run that is told.

The digest is a SHA-256 over every input of every node, every datagram and every disk command, in their order. Two runs
with the same digest did the same. The story is kept only on demand, for it costs more than the simulation: a run that
failed is run again with it, and is the same run.
"""

from __future__ import annotations

import hashlib
import heapq
import zlib
from array import array
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from hil.sim.queue import Queue

DISK: Final = -1
"""Stands for a node in the causes: what is read is caused by what was written."""

_ITEMS_KEPT: Final = 8192  # numbers that wait for the digest, which takes them in one piece
_ITEM_SIZE: Final = array("Q").itemsize
_STEPS_KEPT: Final = 400_000  # of causes; more than a minute of three nodes
_adler32: Final = zlib.adler32  # bound once: the compiled modules would look for it at each command


def sum_of(data: bytes) -> int:
    """A number of 32 bits that tells these bytes from others.

    No CRC: of a datagram or a record, which ends with its own, that is the same number whatever it says.
    """
    return _adler32(data)


class Told(NamedTuple):
    """One line of the story. ``event``: number of the event of the queue; ``node``: None for the world."""

    event: int
    at_us: int
    node: int | None
    text: str

    def __str__(self) -> str:
        where = "--" if self.node is None else f"n{self.node}"
        return f"{self.at_us / 1e6:11.6f} {where:>3} {self.text}"


class Trace:
    """One per run. ``note`` is fast and always called; ``tell`` goes into the digest and, if wanted, the story."""

    def __init__(self, queue: Queue, *, recording: bool = False) -> None:
        self.recording = recording
        self._queue = queue
        self._digest = hashlib.sha256()
        self._items: list[int] = []  # two numbers for each note
        self._lines: list[tuple[int, bytes]] = []  # what was told, each behind so many of these numbers
        self.story: list[Told] = []
        self._steps: deque[tuple[int, int, int]] = deque(maxlen=_STEPS_KEPT)  # (event, the last one there, node)
        self._last: dict[int, int] = {}
        if recording:
            queue.parents = {}

    def note(self, code: int, node: int, value: int) -> None:
        """An input, a datagram or a command: what kind, whose, and a number of at most 64 bits that tells it."""
        self._items.append(self._queue.now_us << 16 | code << 8 | node)
        self._items.append(value)

    def tell(self, node: int | None, text: str) -> None:
        """Something worth reading."""
        self._lines.append((len(self._items), f"{self._queue.now_us} {node} {text}\n".encode()))
        if len(self._items) >= _ITEMS_KEPT:
            self._flush()
        self.remark(node, text)

    def remark(self, node: int | None, text: str) -> None:
        """For the story only: the digest has it already, as a number."""
        if self.recording:
            self.story.append(Told(self._queue.current, self._queue.now_us, node, text))

    def touch(self, node: int) -> None:
        """The event that runs concerns that node (or ``DISK``): what happened there before is one of its causes."""
        event = self._queue.current
        self._steps.append((event, self._last.get(node, 0), node))
        self._last[node] = event

    def hexdigest(self) -> str:
        """Of everything so far."""
        self._flush()
        return self._digest.hexdigest()

    def causes(self, count: int) -> list[Told]:
        """The last lines of the story that the event which runs now may be a consequence of, oldest first."""
        parents = self._queue.parents or {}
        before: dict[int, list[int]] = {}
        for event, earlier, _ in self._steps:
            before.setdefault(event, []).append(earlier)
        lines: dict[int, list[Told]] = {}
        for told in self.story:
            lines.setdefault(told.event, []).append(told)
        found: list[Told] = []
        seen = {self._queue.current}
        waiting = [-self._queue.current]
        while waiting and len(found) < count:
            event = -heapq.heappop(waiting)
            found += reversed(lines.get(event, []))
            for cause in (parents.get(event, 0), *before.get(event, ())):
                if cause and cause not in seen:
                    seen.add(cause)
                    heapq.heappush(waiting, -cause)
        return sorted(found[:count], key=self.story.index)

    def _flush(self) -> None:
        """Everything that waits goes into the digest, in its order."""
        numbers = array("Q", self._items).tobytes()
        pieces: list[bytes] = []
        start = 0
        for count, line in self._lines:
            end = count * _ITEM_SIZE
            pieces += (numbers[start:end], line)
            start = end
        pieces.append(numbers[start:])
        self._digest.update(b"".join(pieces))
        self._items.clear()
        self._lines.clear()
