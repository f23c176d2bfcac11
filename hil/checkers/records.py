"""What lands on the disk, read as a record: a commit, a ballot, a match or a heartbeat; or nothing to be believed."""

from __future__ import annotations

from guestd.membership import layout
from guestd.membership.records import (
    Ballot,
    Commit,
    Heartbeat,
    Match,
    decode_ballot,
    decode_commit,
    decode_heartbeat,
    decode_match,
)
from guestd.membership.sector import SECTOR_SIZE, Damaged

Record = Ballot | Commit | Heartbeat | Match


def record_of(cluster_id: bytes, nodes: int, lba: int, data: bytes) -> Record | None:
    """The record that a write of one region leaves there: of its first whole copy; None: there is none."""
    node, sector = place_of(lba)
    if not layout.REGIONS_LBA <= lba < layout.REGIONS_END_LBA:
        return None
    for copy in range(len(data) // SECTOR_SIZE):
        raw = data[copy * SECTOR_SIZE : (copy + 1) * SECTOR_SIZE]
        try:
            if sector == layout.HEARTBEAT_SECTOR:
                return decode_heartbeat(cluster_id, node, raw)
            if sector < layout.COMMIT_SECTOR:
                return decode_ballot(cluster_id, node, raw)
            if sector == layout.MATCH_SECTOR:
                return decode_match(cluster_id, node, raw)
            return decode_commit(cluster_id, node, raw, nodes)
        except (Damaged, ValueError):
            continue
    return None


def place_of(lba: int) -> tuple[int, int]:
    """Whose region, and which sector of it."""
    return divmod(lba - layout.REGIONS_LBA, layout.REGION_SECTORS)


def is_heartbeat(lba: int) -> bool:
    """Whether a heartbeat lies there."""
    inside = layout.REGIONS_LBA <= lba < layout.REGIONS_END_LBA
    return inside and place_of(lba)[1] == layout.HEARTBEAT_SECTOR
