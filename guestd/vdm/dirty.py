"""The dirty-region log of one mirror on one node (as in dm-mirror): in which regions its two copies may differ.

A region is written into the log, on the medium, before a write to it begins. It may be taken out when no write to it is
under way, none has failed, and a flush has come after the last one: then both copies are on the medium. That is done
when the log is written anyway, and when the mirror is closed; a few clean regions stay in, for they are likely to be
written again, and then no write of the log is needed.
"""

from __future__ import annotations

from guestd.tasks.steps import Signal, Write
from guestd.vdm import layout, records
from guestd.vdm.records import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from guestd.tasks.steps import Task

CLEAN_MAX = 32  # clean regions that stay in the log


class DirtyLog:
    """Mutable; a set of regions is a number with their bits."""

    __slots__ = (
        "_cached",
        "_cluster_id",
        "_failed",
        "_flushing",
        "_id",
        "_node",
        "_pins",
        "_region_blocks",
        "_sequence",
        "_slot",
        "_writing",
        "_written",
    )

    def __init__(self, cluster_id: bytes, node: int, slot: int, identity: int, region_blocks: int) -> None:
        self._cluster_id = cluster_id
        self._node = node
        self._slot = slot
        self._id = identity
        self._region_blocks = region_blocks
        self._sequence = 0
        self._written = 0  # what the log on the disk has for certain
        self._writing: Signal | None = None
        self._pins: dict[int, int] = {}  # region -> writes under way
        self._cached = 0  # written since the last flush began
        self._flushing: list[int] = []  # written before a flush that has not ended
        self._failed = 0  # a write to one of the copies has failed

    @property
    def failed(self) -> int:
        """Regions that have to be resynchronised."""
        return self._failed

    def regions(self, block: int, count: int) -> range:
        """Of these blocks."""
        return range(block // self._region_blocks, (block + count - 1) // self._region_blocks + 1)

    def begin(self, regions: Iterable[int]) -> Task[None]:
        """Ends when writes to these regions may begin. To be ended by `end`, also if this fails. Raises DiskError."""
        wanted = bits(regions)
        for region in regions:
            self._pins[region] = self._pins.get(region, 0) + 1
        while wanted & ~self._written:
            if self._writing is not None:
                yield self._writing
            else:
                yield from self._write()

    def end(self, regions: Iterable[int], *, cached: bool = False, failed: bool = False) -> None:
        """The writes are over. cached: they need a flush; failed: the copies may differ."""
        for region in regions:
            self._pins[region] -= 1
            if not self._pins[region]:
                del self._pins[region]
        if cached:
            self._cached |= bits(regions)
        if failed:
            self._failed |= bits(regions)

    def flush_begins(self) -> int:
        """To be given to `flush_ends`."""
        taken, self._cached = self._cached, 0
        self._flushing.append(taken)
        return taken

    def flush_ends(self, taken: int, *, ok: bool) -> None:
        """What had been written before the flush is on the medium, if it was well."""
        self._flushing.remove(taken)
        if not ok:
            self._cached |= taken

    def synchronised(self, regions: int) -> None:
        """The copies are equal there, on the medium; nobody wrote meanwhile."""
        self._failed &= ~regions

    def clean(self) -> Task[None]:
        """Leave nothing in the log but what has to be. Raises DiskError."""
        while self._written & ~self._needed():
            if self._writing is not None:
                yield self._writing
            else:
                yield from self._write(keep=0)

    def _needed(self) -> int:
        needed = bits(self._pins) | self._cached | self._failed
        for taken in self._flushing:
            needed |= taken
        return needed

    def _write(self, keep: int = CLEAN_MAX) -> Task[None]:
        needed = self._needed()
        clean = self._written & ~needed
        dirty = needed | (clean if clean.bit_count() <= keep else 0)
        self._sequence += 1
        log = Log(self._sequence, self._slot, self._id, self._region_blocks, dirty)
        sector = records.encode_log(self._cluster_id, self._node, log)
        writing = self._writing = Signal()
        self._written &= dirty  # of the old and the new one, whichever it is
        try:
            yield Write(layout.log_lba(self._node, self._slot), sector, durable=True)
            self._written = dirty
        finally:
            self._writing = None
            writing.fire()


def bits(regions: Iterable[int]) -> int:
    """A number with these bits."""
    found = 0
    for region in regions:
        found |= 1 << region
    return found


def regions_in(dirty: int) -> list[int]:
    """The bits that are set."""
    return [region for region in range(dirty.bit_length()) if dirty >> region & 1]
