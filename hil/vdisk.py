"""The virtual disks in a disk's image, and VDM's tables record by record (spec S7.2; layout: ``guestd.vdm.layout``).

Reads only, and believes nothing: each record comes with its validity. The image may be in use: what looks damaged is
read again before it is called so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from guestd.core.config import NODES_MAX
from guestd.core.value import Value
from guestd.membership.sector import NO_NODE, SECTOR_SIZE, Sector, owner, unseal
from guestd.vdm import layout, records, tables
from guestd.vdm.errors import TablesRefused
from guestd.vdm.listing import FIXED, Listed, listed
from hil.database import NEVER_WRITTEN, OK, READS, Record, judged
from hil.errors import UsageError


class VirtualDisk(NamedTuple):
    """One, as ``guestctl vdisk list`` has it."""

    name: str
    size: int
    """Bytes."""
    fixed: bool
    copies: int
    extents: list[list[tuple[int, int]]]
    """Of each copy: LBA and blocks of each extent."""
    id: int | None
    """None: at a fixed place."""


class Inspected(NamedTuple):
    """A whole area of volumes."""

    cluster_id: str | None
    sequence: int | None
    """Of the newest change; None: the tables are refused."""
    free: int | None
    """Bytes that no virtual disk has."""
    refused: str | None
    """Why the tables cannot be believed."""
    pending: str | None
    """The change that the next node that reads the tables completes."""
    disks: list[VirtualDisk]
    records: list[Record]
    """Of logs those that were ever written. The name has the number of the record, where there are several."""

    def damaged(self) -> int:
        """How many records are there and cannot be believed."""
        return sum(one.validity not in (OK, NEVER_WRITTEN) for one in self.records)


def inspect(path: Path) -> Inspected:
    """The virtual disks in the image at ``path``. Raises :class:`UsageError` if there are no tables, saying why."""
    best = _inspect(path, _read(path))
    for _ in range(READS - 1):
        if not best.damaged() and best.refused is None:
            break
        best = min(best, _inspect(path, _read(path)), key=lambda one: (one.refused is not None, one.damaged()))
    return best


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", buffering=0) as image:
            data = os.pread(image.fileno(), layout.TABLES_SIZE, layout.VOLUMES_OFFSET)
            size = os.fstat(image.fileno()).st_size
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(data) < layout.TABLES_SIZE:
        needed = layout.VOLUMES_OFFSET + layout.TABLES_SIZE
        raise UsageError(f"{path}: too short: {size} bytes; the tables of virtual disks end at byte {needed}")
    return data


def _inspect(path: Path, data: bytes) -> Inspected:
    identity = next(
        filter(None, (owner(_sector(data, layout.header_lba(copy)), layout.FORM) for copy in range(2))), None
    )
    if identity is None and not any(data):
        raise UsageError(f"{path}: no virtual disks: the disk is empty at byte {layout.VOLUMES_OFFSET}")
    sectors = [data[start : start + SECTOR_SIZE] for start in range(0, len(data), SECTOR_SIZE)]
    known = identity or bytes(16)
    refused = None
    try:
        loaded = tables.load(known, sectors[: layout.tables_blocks(NODES_MAX)])
    except TablesRefused as why:
        loaded, refused = None, str(why)
    found = list(_records(known, data))
    fixed = [_virtual_disk(one, None) for one in FIXED]
    if loaded is None:
        return Inspected(identity.hex() if identity else None, None, None, refused, None, fixed, found)
    disks = sorted((disk for disk in loaded.tables.disks if disk is not None), key=lambda disk: disk.name)
    used = sum(disk.units * len(disk.copies) for disk in disks)
    return Inspected(
        cluster_id=known.hex(),
        sequence=loaded.tables.sequence,
        free=(loaded.tables.header.units - used) * layout.UNIT_BLOCKS * SECTOR_SIZE,
        refused=None,
        pending=loaded.intent.operation if loaded.intent is not None and loaded.repairs else None,
        disks=[*fixed, *(_virtual_disk(listed(disk), disk.id) for disk in disks)],
        records=found,
    )


def _virtual_disk(one: Listed, identity: int | None) -> VirtualDisk:
    extents = [list(copy) for copy in one.places]
    return VirtualDisk(one.name, one.blocks * SECTOR_SIZE, one.fixed, len(extents), extents, identity)


def _records(identity: bytes, data: bytes) -> Iterator[Record]:
    def judge(name: str, node: int | None, copy: int | None, lba: int, kind: int, place: int, says: Any) -> Record:
        sector = _sector(data, lba)
        about = (name, node, None if copy is None else copy + 1, lba)
        return judged(
            about, lambda: unseal(identity, kind, place, sector, layout.FORM), lambda frame: _plain(says(frame))
        )

    for copy in range(layout.COPIES):
        lba = layout.header_lba(copy)
        yield judge("header", None, copy, lba, layout.RECORD_HEADER, NO_NODE, records.header_in)
    for slot in range(layout.SLOTS):
        for copy in range(layout.COPIES):
            lba = layout.disk_lba(slot, copy)
            yield judge(f"disk {slot}", None, copy, lba, layout.RECORD_DISK, slot, _disk_in)
    for node in range(NODES_MAX):
        for copy in range(layout.COPIES):
            lba = layout.intent_lba(node) + copy
            if any(_sector(data, lba)):
                yield judge("intent", node, copy, lba, layout.RECORD_INTENT, node, records.intent_in)
    for node in range(NODES_MAX):
        for slot in range(layout.SLOTS):
            lba = layout.log_lba(node, slot)
            if any(_sector(data, lba)):
                yield judge(f"log {slot}", node, None, lba, layout.RECORD_LOG, node, _log_of(slot))


def _disk_in(frame: Sector) -> records.Disk | None:
    return records.disk_in(frame.body)


def _log_of(slot: int) -> Any:
    return lambda frame: records.log_in(frame, slot)


def _plain(said: Value | None) -> dict[str, Any]:
    """What a record says, for JSON; its sequence number is told elsewhere."""
    if said is None:
        return {"free": True}
    told = {field: getattr(said, field) for field in type(said).value_fields if field != "sequence"}
    if isinstance(said, records.Disk):
        told["copies"] = [[(one.first, one.count) for one in copy] for copy in said.copies]
    if isinstance(said, records.Intent):
        told["disk"] = None if said.disk is None else _plain(said.disk)
    if isinstance(said, records.Log):
        told["dirty"] = [region for region in range(said.dirty.bit_length()) if said.dirty >> region & 1]
    return told


def _sector(data: bytes, lba: int) -> bytes:
    start = (lba - layout.TABLES_LBA) * SECTOR_SIZE
    return data[start : start + SECTOR_SIZE]
