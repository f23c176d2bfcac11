"""The records of VDM, and how they become sectors (layout: `layout.py`, frame: `guestd/membership/sector.py`).

The sequence number in the frame of header, disk and intent is that of the change which wrote it: the tables have one,
and each change is one more. In a log it counts the writes of one life.
"""

from __future__ import annotations

import struct

from guestd.core.config import NODES_MAX
from guestd.core.value import Value
from guestd.membership.sector import NO_NODE, seal, unseal
from guestd.vdm import layout
from guestd.vdm.errors import BadName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.membership.sector import Sector

NAME_SIZE_MAX = 63
EXTENTS_MAX = 48  # of one virtual disk, of both copies together
OPERATIONS = ("create", "grow", "shrink", "mirror", "delete")
BITMAP_SIZE = 448
REGIONS_MAX = BITMAP_SIZE * 8  # of the largest virtual disk

_HEADER = struct.Struct("<BIIII")
_DISK = struct.Struct("<QBB63sIBB")
_EXTENT = struct.Struct("<II")
_INTENT = struct.Struct("<BBI")
_LOG = struct.Struct("<BQI")
DISK_SIZE = _DISK.size + EXTENTS_MAX * _EXTENT.size


class Header(Value):
    """What the tables are of. digest: CRC-32 of the checksums of all records, so that none can be an old one."""

    nodes: int  # of the cluster: how many intents and logs there are
    units: int  # in the area of extents
    unit_blocks: int
    region_blocks: int  # of the dirty-region logs
    digest: int


class Extent(Value):
    """Units in a row."""

    first: int
    count: int


class Disk(Value):
    """A virtual disk. Its copies lie in `copies[0]` and, if it is a mirror, `copies[1]`."""

    id: int  # the sequence number of the change that created it: never given twice
    name: str
    units: int
    copies: tuple[tuple[Extent, ...], ...]


class Intent(Value):
    """A change that is about to be made: the record that `slot` is to have (None: free), and the digest with it."""

    sequence: int
    operation: str  # one of OPERATIONS; for people
    slot: int
    digest: int
    disk: Disk | None


class Log(Value):
    """The regions of a mirror in which its copies may differ: bit r of `dirty` is region r."""

    sequence: int
    slot: int
    id: int  # of the virtual disk; 0: none
    region_blocks: int
    dirty: int


def check_name(name: str | bytes) -> str:
    """The name as text. Raises BadName."""
    try:
        text = name if isinstance(name, str) else name.decode()
        encoded = text.encode()
    except UnicodeError:
        raise BadName(f"the name {name!r} is not UTF-8") from None
    if not 1 <= len(encoded) <= NAME_SIZE_MAX:
        raise BadName(f"the name {text!r} has {len(encoded)} bytes (legal: 1 to {NAME_SIZE_MAX})")
    if not text.isprintable() or text != text.strip():
        raise BadName(f"the name {text!r} has characters that do not print, or spaces around it")
    return text


def encode_header(cluster_id: bytes, sequence: int, header: Header) -> bytes:
    """One sector."""
    body = _HEADER.pack(header.nodes, header.units, header.unit_blocks, header.region_blocks, header.digest)
    return seal(cluster_id, layout.RECORD_HEADER, NO_NODE, sequence, body, layout.FORM)


def header_in(frame: Sector) -> Header:
    """Raises ValueError for a valid frame around something else."""
    header = Header(*_HEADER.unpack_from(frame.body))
    _only_zeros(frame.body[_HEADER.size :])
    if not 2 <= header.nodes <= NODES_MAX:
        raise ValueError(f"says {header.nodes} nodes (legal: 2 to {NODES_MAX})")
    if header.unit_blocks != layout.UNIT_BLOCKS:
        raise ValueError(f"says units of {header.unit_blocks} blocks (legal: {layout.UNIT_BLOCKS})")
    if header.units < 1 or header.region_blocks != region_blocks(header.units):
        legal = region_blocks(max(1, header.units))
        raise ValueError(f"says {header.units} units and regions of {header.region_blocks} blocks (legal: {legal})")
    return header


def region_blocks(units: int) -> int:
    """The smallest power of two such that the largest virtual disk has no more than REGIONS_MAX regions."""
    blocks = layout.REGION_BLOCKS_MIN
    while blocks * REGIONS_MAX < units * layout.UNIT_BLOCKS:
        blocks *= 2
    return blocks


def encode_disk(cluster_id: bytes, sequence: int, slot: int, disk: Disk | None) -> bytes:
    """One sector; None: the slot is free."""
    return seal(cluster_id, layout.RECORD_DISK, slot, sequence, _disk(disk), layout.FORM)


def disk_in(body: bytes) -> Disk | None:
    """Raises ValueError for what is no record of a virtual disk. None: the slot is free."""
    if body == bytes(len(body)):  # as most slots are
        return None
    identity, copies, name_size, name, units, *counts = _DISK.unpack_from(body)
    if copies == 0:
        raise ValueError("has something where there should be zeros")
    if copies > 2 or counts[copies - 1] == 0 or counts[0] == 0 or (copies == 1 and counts[1]):
        raise ValueError(f"says {copies} copies with {counts} extents")
    if sum(counts) > EXTENTS_MAX:
        raise ValueError(f"says {sum(counts)} extents (legal: at most {EXTENTS_MAX})")
    if name_size > NAME_SIZE_MAX or any(name[name_size:]):
        raise ValueError(f"says a name of {name_size} bytes: {name!r}")
    try:
        text = check_name(name[:name_size])
    except BadName as why:
        raise ValueError(str(why)) from None
    found = []
    offset = _DISK.size
    for count in counts[:copies]:
        extents = tuple(Extent(*_EXTENT.unpack_from(body, offset + place * _EXTENT.size)) for place in range(count))
        offset += count * _EXTENT.size
        if not all(one.count for one in extents) or sum(one.count for one in extents) != units:
            raise ValueError(f"says {units} units, and has extents of {[one.count for one in extents]}")
        found.append(extents)
    _only_zeros(body[offset:])
    if not identity:
        raise ValueError("says id 0")
    return Disk(identity, text, units, tuple(found))


def encode_intent(cluster_id: bytes, node: int, intent: Intent) -> bytes:
    """Both copies: two sectors."""
    head = _INTENT.pack(OPERATIONS.index(intent.operation), intent.slot, intent.digest)
    body = head + _disk(intent.disk)
    sector = seal(cluster_id, layout.RECORD_INTENT, node, intent.sequence, body, layout.FORM)
    return sector * layout.COPIES


def intent_in(frame: Sector) -> Intent:
    """Raises ValueError for a valid frame around something else."""
    operation, slot, digest = _INTENT.unpack_from(frame.body)
    if operation >= len(OPERATIONS):
        raise ValueError(f"says operation {operation} (legal: 0 to {len(OPERATIONS) - 1})")
    if slot >= layout.SLOTS:
        raise ValueError(f"says slot {slot} (legal: 0 to {layout.SLOTS - 1})")
    return Intent(frame.sequence, OPERATIONS[operation], slot, digest, disk_in(frame.body[_INTENT.size :]))


def encode_log(cluster_id: bytes, node: int, log: Log) -> bytes:
    """One sector."""
    body = _LOG.pack(log.slot, log.id, log.region_blocks) + log.dirty.to_bytes(BITMAP_SIZE, "little")
    return seal(cluster_id, layout.RECORD_LOG, node, log.sequence, body, layout.FORM)


def decode_log(cluster_id: bytes, node: int, slot: int, data: bytes) -> Log | None:
    """None: never written. Raises Damaged, or ValueError for a valid frame around something else."""
    frame = unseal(cluster_id, layout.RECORD_LOG, node, data, layout.FORM)
    return None if frame is None else log_in(frame, slot)


def log_in(frame: Sector, slot: int) -> Log:
    """What a valid sector says. Raises ValueError for something else."""
    found, identity, region = _LOG.unpack_from(frame.body)
    if found != slot:
        raise ValueError(f"is of slot {found}, not of slot {slot}")
    end = _LOG.size + BITMAP_SIZE
    _only_zeros(frame.body[end:])
    dirty = int.from_bytes(frame.body[_LOG.size : end], "little")
    if dirty and (not identity or region < layout.REGION_BLOCKS_MIN or region & (region - 1)):
        raise ValueError(f"says dirty regions of {region} blocks of the virtual disk with id {identity}")
    return Log(frame.sequence, slot, identity, region, dirty)


def _disk(disk: Disk | None) -> bytes:
    """DISK_SIZE bytes."""
    if disk is None:
        return bytes(DISK_SIZE)
    name = disk.name.encode()
    counts = [len(copy) for copy in disk.copies] + [0] * (layout.COPIES - len(disk.copies))
    head = _DISK.pack(disk.id, len(disk.copies), len(name), name, disk.units, *counts)
    extents = b"".join(_EXTENT.pack(one.first, one.count) for copy in disk.copies for one in copy)
    return (head + extents).ljust(DISK_SIZE, b"\0")


def _only_zeros(rest: bytes) -> None:
    if rest != bytes(len(rest)):
        raise ValueError("has something where there should be zeros")
