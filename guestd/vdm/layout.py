"""Where VDM's tables lie on the shared disk, and where its extents begin (spec S7.2).

    2 MiB    tables, copy 1          VOLUMES_OFFSET
             +0       header         one sector: size of the area, the tables' sequence number, their digest
             +512     disks          one sector per virtual disk, 63 of them
    +32 KiB  tables, copy 2          the same; written only when copy 1 is on the medium
    +64 KiB  intents                 1 KiB per node: what it is about to change, twice, by one command
    +128 KiB dirty-region logs       32 KiB per node: one sector per virtual disk
    5 MiB    extents                 units of 64 KiB, numbered from 0

Only node i writes intent i and log i while it lives; after its death those write the log who recover it. The tables are
written by who holds their lock in EX. docs/vdm.md has every byte; a test compares the two.
"""

from __future__ import annotations

from guestd.core.config import NODES_MAX
from guestd.membership import layout as disk
from guestd.membership.sector import SECTOR_SIZE, Form

FORM = Form(b"HILV", 1, "place")

RECORD_HEADER = 1  # record types
RECORD_DISK = 2
RECORD_INTENT = 3
RECORD_LOG = 4

SLOTS = 63  # virtual disks at most
COPIES = 2  # of the tables, and of an intent

VOLUMES_OFFSET = disk.VOLUMES_OFFSET
COPY_SIZE = (1 + SLOTS) * SECTOR_SIZE
INTENTS_OFFSET = COPIES * COPY_SIZE  # bytes from VOLUMES_OFFSET
INTENT_SIZE = COPIES * SECTOR_SIZE
LOGS_OFFSET = INTENTS_OFFSET + NODES_MAX * INTENT_SIZE
LOG_SIZE = (1 + SLOTS) * SECTOR_SIZE  # the last sector of each is not used
TABLES_SIZE = LOGS_OFFSET + NODES_MAX * LOG_SIZE
EXTENTS_OFFSET = 5 << 20  # bytes from the beginning of the disk

UNIT_BLOCKS = 128  # 64 KiB, in which space is given out
REGION_BLOCKS_MIN = UNIT_BLOCKS

TABLES_LBA = VOLUMES_OFFSET // SECTOR_SIZE
EXTENTS_LBA = EXTENTS_OFFSET // SECTOR_SIZE

BOOTSTRAP: tuple[int, int] = (64, (1 << 20) // SECTOR_SIZE - 64)  # LBA and blocks; from behind the partition table on


def header_lba(copy: int) -> int:
    """Block address on the disk; copies count from 0."""
    return TABLES_LBA + copy * (1 + SLOTS)


def disk_lba(slot: int, copy: int) -> int:
    """Of the record of a virtual disk."""
    return header_lba(copy) + 1 + slot


def intent_lba(node: int) -> int:
    """Of its first copy; the second one follows."""
    return TABLES_LBA + (INTENTS_OFFSET + node * INTENT_SIZE) // SECTOR_SIZE


def log_lba(node: int, slot: int) -> int:
    """Of a node's dirty regions of one virtual disk."""
    return TABLES_LBA + (LOGS_OFFSET + node * LOG_SIZE) // SECTOR_SIZE + slot


def tables_blocks(nodes: int) -> int:
    """How many blocks from TABLES_LBA on hold both copies and all intents."""
    return (INTENTS_OFFSET + nodes * INTENT_SIZE) // SECTOR_SIZE
