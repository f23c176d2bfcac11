"""An empty area of volumes, as the host writes it with the disk."""

from __future__ import annotations

from guestd.core.config import NODES_MAX
from guestd.membership.sector import SECTOR_SIZE
from guestd.vdm import layout, plans, tables
from guestd.vdm.records import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def format_volumes(cluster_id: str, nodes: int, disk_size: int, disks: Iterable[tuple[str, int]] = ()) -> bytes:
    """The tables, to be written at VOLUMES_OFFSET.

    cluster_id: 32 hexadecimal digits; nodes: 2 to 64; disk_size: bytes of the whole disk; disks: name and bytes of the
    first virtual disks, not mirrored. Raises ValueError, or a VdmError for what is wrong with one of these.
    """
    identity = bytes.fromhex(cluster_id)
    if len(identity) != 16:
        raise ValueError(f"cluster id {cluster_id!r} has {len(cluster_id)} hexadecimal digits (legal: 32)")
    if not 2 <= nodes <= NODES_MAX:
        raise ValueError(f"nodes = {nodes} (legal: 2 to {NODES_MAX})")
    now = tables.empty(identity, nodes, disk_size // SECTOR_SIZE)
    for name, size in disks:
        slot, disk = plans.created(now, check_name(name), plans.units_of(-(-size // SECTOR_SIZE)), 1)
        now = tables.with_record(identity, now, slot, disk)
    copy = tables.encoded_header(identity, now) + b"".join(now.sectors)
    return (copy * layout.COPIES).ljust(layout.TABLES_SIZE, b"\0")
