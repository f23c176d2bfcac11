"""Virtual disks as people are shown them, with those at fixed places, which VDM shows and never touches."""

from __future__ import annotations

from guestd.core.value import Value
from guestd.membership import layout as membership
from guestd.membership.sector import SECTOR_SIZE
from guestd.vdm import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.vdm.records import Disk


class Listed(Value):
    """places: of each copy, LBA and blocks of each extent."""

    name: str
    blocks: int
    fixed: bool
    places: tuple[tuple[tuple[int, int], ...], ...]


_DATABASE = (membership.PERSISTENT_LBA, membership.DATABASE_SIZE // SECTOR_SIZE)

FIXED = (
    Listed("bootstrap", layout.BOOTSTRAP[1], True, ((layout.BOOTSTRAP,),)),
    Listed("membership-database", _DATABASE[1], True, ((_DATABASE,),)),
)


def listed(disk: Disk) -> Listed:
    """One of the tables'."""
    unit = layout.UNIT_BLOCKS
    places = tuple(
        tuple((layout.EXTENTS_LBA + one.first * unit, one.count * unit) for one in copy) for copy in disk.copies
    )
    return Listed(disk.name, disk.units * unit, False, places)
