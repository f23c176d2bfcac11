"""One node's part of a re-spread: what it tells another one, between SpreadBegin and SpreadEnd.

Nothing of it counts before the whole of it has come, and the same from all others; the receiver keeps the newest part
of each node, which may be ahead of it.
"""

from __future__ import annotations

import struct
import zlib

from guestd.dlm.change import KINDS
from guestd.dlm.messages import Held, LastValue, Mastered, SpreadBegin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from guestd.dlm.change import Change

    Item = Mastered | Held | LastValue

_LIFE = struct.Struct("<BI")
_STARTED = struct.Struct("<BIB")


class Part:
    """Mutable; grows with each message."""

    __slots__ = ("begin", "complete", "held", "last_values", "mastered", "started")

    def __init__(self, begin: SpreadBegin) -> None:
        self.begin = begin
        self.started = _started(begin.started)
        self.mastered: list[bytes] = []
        self.held: list[Held] = []
        self.last_values: list[LastValue] = []
        self.complete = False

    def add(self, item: Item) -> None:
        """One message of it."""
        if isinstance(item, Mastered):
            self.mastered.append(item.name[0])
        elif isinstance(item, Held):
            self.held.append(item)
        else:
            self.last_values.append(item)

    def covers(self, change: Change) -> bool:
        """Whether its sender had been told to re-spread for that change, or a later one of that node, when it sent
        this."""
        return self.started.get(change.node, (0, 0)) >= change.age


def begin_of(members: Mapping[int, int], started: Iterable[Change]) -> SpreadBegin:
    """The head of a part that is meant for these members."""
    mask = sum(1 << node for node in members)
    lives = b"".join(_LIFE.pack(node, members[node]) for node in sorted(members))
    told = [_STARTED.pack(one.node, one.incarnation, KINDS.index(one.kind)) for one in started]
    return SpreadBegin(mask, zlib.crc32(lives), b"".join(told))


def _started(data: bytes) -> dict[int, tuple[int, int]]:
    whole = len(data) - len(data) % _STARTED.size
    return {node: (incarnation, kind) for node, incarnation, kind in _STARTED.iter_unpack(data[:whole])}
