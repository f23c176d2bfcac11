"""The disk's volatile cache over the virtual disks: what was written without being flushed, and is lost in part.

A node that loses power may lose, sector by sector and in any combination, what it has written since its last flush
(``volatile-cache`` of the target). What any node flushes is flushed for all: the command goes to the whole unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestd.membership import layout
from guestd.membership.sector import SECTOR_SIZE

if TYPE_CHECKING:
    from mmap import mmap

    from hil.sim.randomness import Draw


class Cache:
    """``medium``: what a read brings. Keeps what was there before, for whom loses it."""

    def __init__(self, medium: bytearray | mmap) -> None:
        self._medium = medium
        self._stable: dict[int, tuple[int, bytes]] = {}  # LBA -> who has written it last, and what is stable there
        self.lost_count = 0

    def written(self, node: int, lba: int, size: int, *, durable: bool) -> None:
        """So many bytes of that node are about to reach the medium."""
        for sector in range(lba, lba + size // SECTOR_SIZE):
            if durable:
                self._stable.pop(sector, None)
            else:
                before = self._stable.get(sector)
                start = sector * SECTOR_SIZE
                stable = bytes(self._medium[start : start + SECTOR_SIZE]) if before is None else before[1]
                self._stable[sector] = node, stable

    def flushed(self) -> None:
        """Everything is stable."""
        self._stable.clear()

    def power_lost(self, node: int, share: int, draw: Draw) -> None:
        """That node is gone. share: per mille of its sectors that are lost."""
        for sector in [sector for sector, (writer, _) in self._stable.items() if writer == node]:
            _, stable = self._stable.pop(sector)
            if draw() * 1000 < share:
                self.lost_count += 1
                self._medium[sector * SECTOR_SIZE : (sector + 1) * SECTOR_SIZE] = stable


def is_of_volumes(lba: int) -> bool:
    """Whether that is no place of the membership database, but of the virtual disks."""
    return lba >= layout.VOLUMES_LBA
