"""The persistent part of the membership database (spec S2.2): how many nodes there are, and each one's configuration.

Each record is there twice. A copy is written only when the other one is whole, so one torn write does not matter: the
valid copy with the higher sequence number counts. With neither valid nothing can be believed, and nothing is written.
"""

from __future__ import annotations

import struct

from guestd.core import json
from guestd.core.config import DATA_DISKS_MAX, ELECTIONS, NODES_MAX
from guestd.core.value import Value
from guestd.membership import layout
from guestd.membership.sector import NO_NODE, SECTOR_SIZE, Damaged, OtherVersion, seal, unseal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NAME_SIZE_MAX = 31

_HEADER = struct.Struct("<I32sBB")


class Header(Value):
    """What all nodes share."""

    cluster: str
    nodes: int
    election: str = "paxos"  # one of ELECTIONS
    data_disks: int = 0  # LUNs beside LUN 0: who is forced out has to be fenced on all of them


class Configuration(Value):
    """What is needed to boot, shut down or panic one node."""

    name: str
    boot: str
    shutdown: str
    panic: str


class Persistent(Value):
    """What a node has read: the cluster's header, its own configuration, and the copies that cannot be believed."""

    header: Header
    configuration: Configuration
    damaged: tuple[tuple[str, str], ...]  # (record and copy, why); at most one copy of each record


def format_database(cluster_id: str, name: str, nodes: int, election: str = "paxos", data_disks: int = 0) -> bytes:
    """A new database, to be written at DATABASE_OFFSET.

    cluster_id: 32 hexadecimal digits; name: of the cluster, at most 31 bytes; nodes: 2 to 64; election:
    one of ELECTIONS; data_disks: 0 to 7.
    Raises ValueError for anything else.
    """
    identity = bytes.fromhex(cluster_id)
    encoded = name.encode()
    if len(identity) != 16:
        raise ValueError(f"cluster id {cluster_id!r} has {len(cluster_id)} hexadecimal digits (legal: 32)")
    if not 1 <= len(encoded) <= NAME_SIZE_MAX:
        raise ValueError(f"cluster name {name!r} has {len(encoded)} bytes (legal: 1 to {NAME_SIZE_MAX})")
    if not 2 <= nodes <= NODES_MAX:
        raise ValueError(f"nodes = {nodes} (legal: 2 to {NODES_MAX})")
    if election not in ELECTIONS:
        raise ValueError(f"election = {election!r} (legal: {', '.join(ELECTIONS)})")
    if not 0 <= data_disks <= DATA_DISKS_MAX:
        raise ValueError(f"data_disks = {data_disks} (legal: 0 to {DATA_DISKS_MAX})")
    header = encode_header(identity, Header(name, nodes, election, data_disks), 1)
    database = bytearray(layout.DATABASE_SIZE)
    for copy in range(layout.COPIES):
        _put(database, layout.header_offset(copy), header)
        for node in range(nodes):
            configuration = Configuration(f"n{node}", boot="image", shutdown="order leave", panic="order panic")
            sector = encode_configuration(identity, node, configuration, 1)
            _put(database, layout.configuration_offset(node, copy), sector)
    return bytes(database)


def encode_header(cluster_id: bytes, header: Header, sequence: int) -> bytes:
    """One sector."""
    body = _HEADER.pack(header.nodes, header.cluster.encode(), ELECTIONS.index(header.election), header.data_disks)
    return seal(cluster_id, layout.RECORD_HEADER, NO_NODE, sequence, body)


def decode_header(body: bytes) -> Header:
    """Raises ValueError for a valid frame around something else."""
    nodes, name, election, data_disks = _HEADER.unpack_from(body)
    if not 2 <= nodes <= NODES_MAX:
        raise ValueError(f"says {nodes} nodes (legal: 2 to {NODES_MAX})")
    if election >= len(ELECTIONS):
        raise ValueError(f"says election {election} (legal: 0 to {len(ELECTIONS) - 1})")
    if data_disks > DATA_DISKS_MAX:
        raise ValueError(f"says {data_disks} data disks (legal: 0 to {DATA_DISKS_MAX})")
    return Header(name.rstrip(b"\0").decode("utf-8", "replace"), nodes, ELECTIONS[election], data_disks)


def encode_configuration(cluster_id: bytes, node: int, configuration: Configuration, sequence: int) -> bytes:
    """One sector. Raises ValueError if it does not fit."""
    told = {field: getattr(configuration, field) for field in Configuration.value_fields}
    return seal(cluster_id, layout.RECORD_CONFIGURATION, node, sequence, json.dumps(told).encode())


def decode_configuration(body: bytes) -> Configuration:
    """Raises ValueError for a valid frame around something else."""
    told = json.loads(body.rstrip(b"\0"))
    if not isinstance(told, dict):
        raise ValueError("is no JSON object")
    for field in Configuration.value_fields:
        if not isinstance(told.get(field), str):
            raise ValueError(f"says {field}: {told.get(field)!r}, which is no text")
    return Configuration(**{field: told[field] for field in Configuration.value_fields})


def read_persistent(cluster_id: bytes, node: int, data: bytes) -> Persistent:
    """From a read of both copies. Raises Damaged, saying of each copy what is wrong, if a record has no valid one.

    Raises OtherVersion if any copy is of another version: it may be the newer one, and must not be overwritten.
    """
    damaged: list[tuple[str, str]] = []
    name = f"configuration of node {node}"
    of_all = _Kind("header", layout.RECORD_HEADER, NO_NODE, decode_header)
    of_node = _Kind(name, layout.RECORD_CONFIGURATION, node, decode_configuration)
    header = _newest(cluster_id, of_all, headers(data), damaged)
    configuration = _newest(cluster_id, of_node, configurations(data, node), damaged)
    return Persistent(header, configuration, tuple(damaged))


def headers(data: bytes) -> list[bytes]:
    """The sector of each copy of the header, out of a read of the persistent part."""
    return [_sector(data, layout.header_offset(copy)) for copy in range(layout.COPIES)]


def configurations(data: bytes, node: int) -> list[bytes]:
    """The sector of each copy of a node's configuration."""
    return [_sector(data, layout.configuration_offset(node, copy)) for copy in range(layout.COPIES)]


class _Kind(Value):
    """What must stand in both copies."""

    name: str
    record: int
    node: int
    decode: Callable[[bytes], Any]


def _newest(cluster_id: bytes, kind: _Kind, copies: list[bytes], damaged: list[tuple[str, str]]) -> Any:
    """What the valid copy with the higher sequence number says; `damaged` takes the other one if it is not valid."""
    newest = None
    wrong = []
    for copy, data in enumerate(copies, 1):
        try:
            found = unseal(cluster_id, kind.record, kind.node, data)
            if found is None:
                raise Damaged("was never written")
            said = kind.decode(found.body)
        except OtherVersion as why:
            raise OtherVersion(why.found, f"{kind.name}, copy {copy}: ") from None
        except (Damaged, ValueError) as why:
            wrong.append((f"{kind.name}, copy {copy}", str(why)))
        else:
            if newest is None or found.sequence > newest[0]:
                newest = found.sequence, said
    if newest is None:
        raise Damaged("; ".join(f"{copy}: {why}" for copy, why in wrong))
    damaged += wrong
    return newest[1]


def _sector(data: bytes, offset: int) -> bytes:
    return data[offset : offset + SECTOR_SIZE]


def _put(database: bytearray, offset: int, sector: bytes) -> None:
    database[offset : offset + SECTOR_SIZE] = sector
