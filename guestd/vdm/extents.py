"""Which units of the disk are free, and which ones a virtual disk gets: as few extents as it can.

Nothing on the disk says what is free: it is what no virtual disk has. So the two cannot disagree.
"""

from __future__ import annotations

from guestd.vdm.errors import NoRoom
from guestd.vdm.records import EXTENTS_MAX, Disk, Extent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def owned(disks: Iterable[Disk | None]) -> list[tuple[Extent, Disk]]:
    """All extents with their owners, by place. Raises ValueError if two have the same unit."""
    found = [(extent, disk) for disk in disks if disk is not None for copy in disk.copies for extent in copy]
    found.sort(key=lambda one: one[0].first)
    for (extent, disk), (following, other) in zip(found, found[1:], strict=False):  # noqa: RUF007 - itertools is one import more
        if extent.first + extent.count > following.first:
            raise ValueError(f"unit {following.first} belongs to {disk.name!r} and to {other.name!r}")
    return found


def free(disks: Iterable[Disk | None], units: int) -> list[Extent]:
    """What nobody has, by place. units: how many there are in all."""
    gaps = []
    end = 0
    for extent, _ in [*owned(disks), (Extent(units, 0), None)]:
        if extent.first > end:
            gaps.append(Extent(end, extent.first - end))
        end = extent.first + extent.count
    return gaps


def allocate(gaps: list[Extent], count: int, after: Extent | None = None) -> tuple[list[Extent], list[Extent]]:
    """`count` units out of these gaps, and the gaps that are left.

    after: the last extent of what is to grow; right behind it is best. Then the smallest gap that holds all, else the
    largest ones. Raises NoRoom.
    """
    left = sum(gap.count for gap in gaps)
    if left < count:
        raise NoRoom(f"{count} units of 64 KiB are needed, {left} are free")
    behind = [gap for gap in gaps if after is not None and gap.first == after.first + after.count]
    whole = sorted((gap for gap in gaps if gap.count >= count), key=lambda gap: (gap.count, gap.first))
    largest = sorted(gaps, key=lambda gap: (-gap.count, gap.first))
    taken: list[Extent] = []
    for gap in [*behind, *(whole if not behind or behind[0].count >= count else []), *largest]:
        if count == 0:
            break
        if any(one.first == gap.first for one in taken):
            continue
        taken.append(Extent(gap.first, min(gap.count, count)))
        count -= taken[-1].count
    return taken, _without(gaps, taken)


def joined(extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """The same units in the same order, with as few extents as can be."""
    found: list[Extent] = []
    for extent in extents:
        if found and found[-1].first + found[-1].count == extent.first:
            found[-1] = Extent(found[-1].first, found[-1].count + extent.count)
        else:
            found.append(extent)
    return tuple(found)


def cut(extents: tuple[Extent, ...], units: int) -> tuple[Extent, ...]:
    """The first so many units."""
    found = []
    for extent in extents:
        if units > 0:
            found.append(Extent(extent.first, min(extent.count, units)))
            units -= extent.count
    return tuple(found)


def check_count(disk: Disk) -> Disk:
    """The same. Raises NoRoom if its record has no room for its extents."""
    count = sum(len(copy) for copy in disk.copies)
    if count > EXTENTS_MAX:
        raise NoRoom(
            f"{disk.name!r} would have {count} extents (legal: at most {EXTENTS_MAX}): free space is in pieces"
        )
    return disk


def places(extents: tuple[Extent, ...], unit_blocks: int, block: int, count: int) -> Iterator[tuple[int, int]]:
    """Where `count` blocks from `block` on lie: block in the area of extents, and how many in a row."""
    start = 0
    for extent in extents:
        size = extent.count * unit_blocks
        if block < start + size:
            within = block - start
            piece = min(count, size - within)
            yield extent.first * unit_blocks + within, piece
            block += piece
            count -= piece
            if not count:
                return
        start += size


def _without(gaps: list[Extent], taken: list[Extent]) -> list[Extent]:
    """taken: each from the beginning of a gap."""
    found = []
    for gap in gaps:
        used = sum(one.count for one in taken if one.first == gap.first)
        if used < gap.count:
            found.append(Extent(gap.first + used, gap.count - used))
    return found
