"""Claim: of the membership database a node writes nothing but its own region; nor what lies before it (S2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestd.membership import layout
from guestd.membership.sector import SECTOR_SIZE
from hil.checkers.checker import Checker
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from hil.checkers.observation import Life


class OneWriter(Checker):
    """By addresses alone."""

    claim = "a sector of the membership database has one writer (S2.5)"
    needs = (Observation.DISK,)

    def landed(self, node: Life, life: int, lba: int, data: bytes) -> None:
        """Where it lands."""
        if lba >= layout.VOLUMES_LBA:
            return  # of the virtual disks, whose sectors are guarded by locks
        first = layout.region_lba(node.number, 0)
        if not first <= lba <= lba + len(data) // SECTOR_SIZE <= first + layout.REGION_SECTORS:
            self.fail(f"node {node.number} (life {life}) wrote LBA {lba}, its region begins at {first}")
