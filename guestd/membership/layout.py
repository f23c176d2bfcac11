"""Where things lie on the shared disk and in the membership database (spec S2.1 to S2.3, S2.5).

    The shared disk
    0        partition table (GPT), bootstrap
    1 MiB    membership database: DATABASE_OFFSET, fixed, so that a booting node needs nobody to find it
    2 MiB    volumes

    The membership database, offsets from its beginning

    +0       persistent part, copy 1     written by the host
    |        +0       header             one sector: the cluster's name, how many nodes
    |        +4 KiB   configurations     one sector per node, 64 of them
    +64 KiB  persistent part, copy 2     the same; written only while copy 1 is whole
    +128 KiB active part                 one region of 4 KiB per node, 64 of them; only node i writes region i
    |        +0       heartbeat          one record per sector; one read of N regions sees everything
    |        +512     ballot, copy 1     both copies by one command: a torn write damages one sector, and the other
    |        +1024    ballot, copy 2     copy is whole, of this write or of the one before
    |        +1536    commit, copy 1
    |        +2048    commit, copy 2
    |        +2560    match, copy 1      instead of ballots with `election = "dekker"`
    |        +3072    match, copy 2
    +384 KiB end

docs/membership-database.md has every byte of it; a test compares the two.
"""

from __future__ import annotations

from guestd.core.config import NODES_MAX
from guestd.membership.sector import SECTOR_SIZE

DATABASE_OFFSET = 1 << 20  # bytes from the beginning of the disk
COPIES = 2  # of the persistent part, and of ballots, commits and matches
COPY_SIZE = 64 << 10
CONFIGURATION_OFFSET = 4 << 10  # bytes from the beginning of a copy
REGIONS_OFFSET = COPIES * COPY_SIZE  # bytes from the beginning of the database
REGION_SIZE = 4 << 10
DATABASE_SIZE: int = REGIONS_OFFSET + NODES_MAX * REGION_SIZE
VOLUMES_OFFSET = 2 << 20  # bytes from the beginning of the disk: from there on it is the virtual disk manager's

HEARTBEAT_SECTOR = 0  # sectors within a region
BALLOT_SECTOR = 1  # its first copy, as the following
COMMIT_SECTOR = BALLOT_SECTOR + COPIES
MATCH_SECTOR: int = COMMIT_SECTOR + COPIES

RECORD_HEADER = 1  # record types
RECORD_CONFIGURATION = 2
RECORD_HEARTBEAT = 3
RECORD_BALLOT = 4
RECORD_COMMIT = 5
RECORD_MATCH = 6

PERSISTENT_LBA: int = DATABASE_OFFSET // SECTOR_SIZE
REGIONS_LBA = (DATABASE_OFFSET + REGIONS_OFFSET) // SECTOR_SIZE
REGION_SECTORS = REGION_SIZE // SECTOR_SIZE
REGIONS_END_LBA = REGIONS_LBA + NODES_MAX * REGION_SECTORS
VOLUMES_LBA = VOLUMES_OFFSET // SECTOR_SIZE


def persistent_sectors(nodes: int) -> int:
    """How many sectors from PERSISTENT_LBA on hold both copies of the persistent part."""
    return (configuration_offset(nodes - 1, COPIES - 1) + SECTOR_SIZE) // SECTOR_SIZE


def header_offset(copy: int) -> int:
    """Bytes from the beginning of the database; copies count from 0."""
    return copy * COPY_SIZE


def configuration_offset(node: int, copy: int) -> int:
    """Bytes from the beginning of the database."""
    return copy * COPY_SIZE + CONFIGURATION_OFFSET + node * SECTOR_SIZE


def region_lba(node: int, sector: int) -> int:
    """Block address on the disk of one record of a node."""
    return REGIONS_LBA + node * REGION_SECTORS + sector


def region_sector(regions: bytes, node: int, sector: int) -> bytes:
    """One record out of a read of all regions."""
    start = node * REGION_SIZE + sector * SECTOR_SIZE
    return regions[start : start + SECTOR_SIZE]
