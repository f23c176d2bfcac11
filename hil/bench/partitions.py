"""What lies where on a cluster's disk, as its partition table tells it (spec S2.1; ``guestd.membership.layout``)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Final

from guestd.membership import layout
from hil import gpt

ALIGNMENT: Final = 2048
"""Blocks: 1 MiB, what every tool aligns to."""

BOOTSTRAP_FIRST_LBA: Final = 64
"""Behind the table, at a whole 4 KiB."""


def partition_tables(size: int, cluster_id: str) -> tuple[bytes, bytes]:
    """For a disk of ``size`` bytes: the primary table, for its beginning, and the backup, for its end.

    The same cluster id, the same bytes: the GUIDs are derived from it (UUID version 5).
    """
    blocks = size // gpt.BLOCK_SIZE
    database = layout.DATABASE_OFFSET // gpt.BLOCK_SIZE
    database_end = database + layout.DATABASE_SIZE // gpt.BLOCK_SIZE
    volumes = _aligned(database_end + ALIGNMENT - 1)
    places = {
        "bootstrap": (BOOTSTRAP_FIRST_LBA, database - 1),
        "membership database": (database, database_end - 1),
        "volumes": (volumes, _last(blocks)),
    }
    return _tables(blocks, cluster_id, "disk", places)


def data_disk_tables(size: int, cluster_id: str, lun: int) -> tuple[bytes, bytes]:
    """The same for LUN 1, 2 …: one partition, for whoever uses it."""
    blocks = size // gpt.BLOCK_SIZE
    return _tables(blocks, cluster_id, f"disk {lun}", {f"data {lun}": (ALIGNMENT, _last(blocks))})


def _tables(blocks: int, cluster_id: str, disk: str, places: Mapping[str, tuple[int, int]]) -> tuple[bytes, bytes]:
    cluster = uuid.UUID(cluster_id)
    partitions = [gpt.Partition(name, first, last, uuid.uuid5(cluster, name)) for name, (first, last) in places.items()]
    return gpt.tables(blocks, uuid.uuid5(cluster, disk), partitions)


def _last(blocks: int) -> int:
    """The last block of the last partition."""
    return _aligned(gpt.last_usable_lba(blocks) + 1) - 1


def _aligned(lba: int) -> int:
    """The last aligned block up to ``lba``."""
    return lba // ALIGNMENT * ALIGNMENT
