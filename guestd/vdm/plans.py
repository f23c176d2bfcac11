"""What an operation makes of the tables: the slot, and the record that it is to have. Each raises why it cannot be."""

from __future__ import annotations

from guestd.vdm import layout
from guestd.vdm.errors import BadSize, FixedDisk, NameTaken, NoRoom, UnknownDisk
from guestd.vdm.extents import allocate, check_count, cut, free, joined
from guestd.vdm.listing import FIXED
from guestd.vdm.records import Disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.vdm.tables import Tables


def units_of(blocks: int) -> int:
    """As many units as these blocks need. Raises BadSize."""
    if blocks < 1:
        raise BadSize(f"{blocks} blocks (legal: at least 1)")
    return -(-blocks // layout.UNIT_BLOCKS)


def find(now: Tables, name: str) -> tuple[int, Disk]:
    """Slot and record of a virtual disk. Raises UnknownDisk, FixedDisk."""
    found = now.find(name)
    if found is not None:
        return found
    if any(one.name == name for one in FIXED):
        raise FixedDisk(f"{name!r} lies at a fixed place: it is listed, and nothing else")
    names = ", ".join(sorted(disk.name for disk in now.disks if disk)) or "none"
    raise UnknownDisk(f"there is no virtual disk {name!r} (there are: {names})")


def created(now: Tables, name: str, units: int, copies: int) -> tuple[int, Disk]:
    """Raises NameTaken, NoRoom."""
    if now.find(name) is not None or any(one.name == name for one in FIXED):
        raise NameTaken(f"there is a virtual disk {name!r}")
    slot = next((slot for slot, disk in enumerate(now.disks) if disk is None), None)
    if slot is None:
        raise NoRoom(f"there are {layout.SLOTS} virtual disks (legal: at most {layout.SLOTS})")
    gaps = free(now.disks, now.header.units)
    taken = []
    for _ in range(copies):
        extents, gaps = allocate(gaps, units)
        taken.append(joined(extents))
    return slot, check_count(Disk(now.sequence + 1, name, units, tuple(taken)))


def grown(now: Tables, name: str, units: int) -> tuple[int, Disk]:
    """Raises UnknownDisk, FixedDisk, BadSize, NoRoom."""
    slot, disk = find(now, name)
    if units < disk.units:
        raise BadSize(f"{name!r} has {disk.units} units of 64 KiB; it does not grow to {units}")
    gaps = free(now.disks, now.header.units)
    copies = []
    for copy in disk.copies:
        extents, gaps = allocate(gaps, units - disk.units, after=copy[-1])
        copies.append(joined([*copy, *extents]))
    return slot, check_count(Disk(disk.id, disk.name, units, tuple(copies)))


def shrunk(now: Tables, name: str, units: int) -> tuple[int, Disk]:
    """Raises UnknownDisk, FixedDisk, BadSize."""
    slot, disk = find(now, name)
    if units > disk.units:
        raise BadSize(f"{name!r} has {disk.units} units of 64 KiB; it does not shrink to {units}")
    return slot, Disk(disk.id, disk.name, units, tuple(cut(copy, units) for copy in disk.copies))


def mirrored(now: Tables, name: str) -> tuple[int, Disk]:
    """Raises UnknownDisk, FixedDisk, BadSize, NoRoom."""
    slot, disk = find(now, name)
    if len(disk.copies) > 1:
        raise BadSize(f"{name!r} has {len(disk.copies)} copies (legal: one, to get another)")
    taken, _ = allocate(free(now.disks, now.header.units), disk.units)
    return slot, check_count(Disk(disk.id, disk.name, disk.units, (*disk.copies, joined(taken))))


def deleted(now: Tables, name: str) -> tuple[int, None]:
    """Raises UnknownDisk, FixedDisk."""
    return find(now, name)[0], None


def unsynchronised(before: Disk | None, after: Disk | None) -> int | None:
    """The first unit from which on the copies differ with that change; None: nowhere."""
    if after is None or len(after.copies) == 1:
        return None
    if before is None or len(before.copies) == 1:
        return 0
    return before.units if after.units > before.units else None
