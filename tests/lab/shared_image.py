"""The file system on the virtual disk ``shared``, as it lies in the image of the shared disk."""

from __future__ import annotations

from pathlib import Path

from guestd.membership.sector import SECTOR_SIZE
from guestd.sfs import superblock
from guestd.sfs.block import BLOCK_SIZE
from guestd.sfs.level import VIRTUAL_DISK
from hil import vdisk
from hil.checkpoint import DISK
from hil.scenario import ScenarioCluster

BLOCK_SECTORS = BLOCK_SIZE // SECTOR_SIZE


def image_of(cluster: ScenarioCluster) -> Path:
    """The shared disk's image."""
    return cluster.run_dir / DISK


def journal_of(image: Path, node: int) -> tuple[int, int]:
    """First and last sector on the disk of a node's journal."""
    lba, blocks = _place(image)
    with image.open("rb") as file:
        file.seek(lba * SECTOR_SIZE)
        geometry = superblock.decode(file.read(BLOCK_SIZE), blocks)
    first = lba + geometry.head(node) * BLOCK_SECTORS
    return first, first + geometry.journal_blocks * BLOCK_SECTORS - 1


def _place(image: Path) -> tuple[int, int]:
    """First sector on the disk, and blocks of the file system."""
    [disk] = [one for one in vdisk.inspect(image).disks if one.name == VIRTUAL_DISK]
    [[(lba, _)]] = disk.extents  # made with the disk, so in one piece
    return lba, disk.size // BLOCK_SIZE
