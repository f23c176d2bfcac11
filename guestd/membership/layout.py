"""Where things lie in the membership database (spec S2.1 to S2.3).

    The shared disk                      The database, from DATABASE_OFFSET on

    0       partitions, bootstrap        +0        header: one sector, written by the host at creation
    1 MiB   membership database          +4 KiB    configuration: one sector per node, 64 of them, written by the host
    ...     volumes                      +64 KiB   active part: one region of 4 KiB per node, 64 of them

    Region of node i (only node i writes it; one record per sector):
    +0      heartbeat        +512    ballot        +1024   commit        the rest: later

The regions of all N configured nodes are contiguous: one read of 4 KiB x N sees everything.
"""

from __future__ import annotations

import struct

from guestd.core import json
from guestd.core.config import NODES_MAX
from guestd.core.value import Value
from guestd.membership.sector import NO_NODE, SECTOR_SIZE, Damaged, seal, unseal

DATABASE_OFFSET = 1 << 20  # bytes from the beginning of the disk
CONFIGURATION_OFFSET = 4 << 10  # bytes from the beginning of the database, as are the following
REGIONS_OFFSET = 64 << 10
REGION_SIZE = 4 << 10
DATABASE_SIZE = REGIONS_OFFSET + NODES_MAX * REGION_SIZE

HEARTBEAT_SECTOR = 0  # sectors within a region
BALLOT_SECTOR = 1
COMMIT_SECTOR = 2

RECORD_HEADER = 1  # record types
RECORD_CONFIGURATION = 2
RECORD_HEARTBEAT = 3
RECORD_BALLOT = 4
RECORD_COMMIT = 5

HEADER_LBA = DATABASE_OFFSET // SECTOR_SIZE
REGIONS_LBA = (DATABASE_OFFSET + REGIONS_OFFSET) // SECTOR_SIZE
REGION_SECTORS = REGION_SIZE // SECTOR_SIZE

_HEADER = struct.Struct("<I32s")


class Header(Value):
    """The persistent part that all nodes share."""

    cluster: str
    nodes: int


def region_lba(node: int, sector: int) -> int:
    """Block address on the disk of one record of a node."""
    return REGIONS_LBA + node * REGION_SECTORS + sector


def region_sector(regions: bytes, node: int, sector: int) -> bytes:
    """One record out of a read of all regions."""
    start = node * REGION_SIZE + sector * SECTOR_SIZE
    return regions[start : start + SECTOR_SIZE]


def format_database(cluster_id: str, name: str, nodes: int) -> bytes:
    """A new database, to be written at DATABASE_OFFSET.

    cluster_id: 32 hexadecimal digits; name: of the cluster, at most 31 bytes; nodes: 2 to 64.
    Raises ValueError for anything else.
    """
    identity = bytes.fromhex(cluster_id)
    encoded = name.encode()
    if len(identity) != 16:
        raise ValueError(f"cluster id {cluster_id!r} has {len(cluster_id)} hexadecimal digits (legal: 32)")
    if not 1 <= len(encoded) <= 31:
        raise ValueError(f"cluster name {name!r} has {len(encoded)} bytes (legal: 1 to 31)")
    if not 2 <= nodes <= NODES_MAX:
        raise ValueError(f"nodes = {nodes} (legal: 2 to {NODES_MAX})")
    database = bytearray(DATABASE_SIZE)
    database[:SECTOR_SIZE] = seal(identity, RECORD_HEADER, NO_NODE, 1, _HEADER.pack(nodes, encoded))
    for node in range(nodes):
        configuration = {"name": f"n{node}", "boot": "image", "shutdown": "order leave", "panic": "order panic"}
        start = CONFIGURATION_OFFSET + node * SECTOR_SIZE
        body = json.dumps(configuration).encode()
        database[start : start + SECTOR_SIZE] = seal(identity, RECORD_CONFIGURATION, node, 1, body)
    return bytes(database)


def read_header(cluster_id: bytes, data: bytes) -> Header:
    """The header, from the first sector of the database. Raises Damaged, saying what is wrong with it."""
    sector = unseal(cluster_id, RECORD_HEADER, NO_NODE, data)
    if sector is None:
        raise Damaged("there is no membership database: its header was never written")
    nodes, name = _HEADER.unpack_from(sector.body)
    return Header(cluster=name.rstrip(b"\0").decode("utf-8", "replace"), nodes=nodes)
