"""The membership database in a disk's image, record by record (spec S2; layout: ``guestd.membership.layout``).

Reads only, and believes nothing: each record comes with its validity. The image may be in use: the SCSI target writes
it while this reads, so what looks damaged is read again before it is called so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from guestd.core.config import NODES_MAX
from guestd.core.value import Value
from guestd.membership import layout, persistent, records
from guestd.membership.connectivity import nodes_of
from guestd.membership.regions import newest_view, parse
from guestd.membership.sector import NO_NODE, SECTOR_SIZE, Damaged, Sector, owner, unseal
from guestd.membership.view import NO_LEVEL, NO_MASTER, View
from hil.errors import UsageError

OK: Final = "ok"
NEVER_WRITTEN: Final = "never written"
READS: Final = 3
"""Before a record is called damaged: a write that was under way is over by then."""


@dataclass(frozen=True)
class Record:
    """One sector, and what is to be thought of it."""

    record: str
    """header, configuration, heartbeat, ballot, commit or match."""
    node: int | None
    """Whose; None: all nodes'."""
    copy: int | None
    """1 or 2; None: there is one."""
    lba: int
    """Block address on the disk."""
    validity: str
    """ok, never written, damaged, foreign cluster, future version or former version."""
    why: str | None = None
    """What is wrong with it."""
    sequence: int | None = None
    fields: dict[str, Any] | None = None
    """What it says, if it is ok."""


class Inspected(NamedTuple):
    """A whole database. ``cluster`` and ``nodes`` are the valid header's, None without one."""

    cluster: str | None
    cluster_id: str | None
    nodes: int | None
    membership: dict[str, Any] | None
    """The newest that can be believed; None: nothing was ever committed."""
    records: list[Record]

    def damaged(self) -> int:
        """How many records are there and cannot be believed."""
        return sum(one.validity not in (OK, NEVER_WRITTEN) for one in self.records)


class _Place(NamedTuple):
    """Where a record is, and what must stand there."""

    record: str
    node: int | None
    copy: int | None
    offset: int
    kind: int
    decode: Callable[[Sector], Value]


def inspect(path: Path) -> Inspected:
    """The database in the image at ``path``. Raises :class:`UsageError` if there is none, saying why."""
    best = _inspect(path, _read(path))
    for _ in range(READS - 1):
        if not best.damaged():
            break
        best = min(best, _inspect(path, _read(path)), key=Inspected.damaged)
    return best


def places(nodes: int) -> Iterator[tuple[str, int | None, int | None, int]]:
    """Every record of a database of that many nodes: name, node, copy, offset from the database's beginning."""
    for place in _places(nodes):
        yield place.record, place.node, place.copy, place.offset


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", buffering=0) as image:
            data = os.pread(image.fileno(), layout.DATABASE_SIZE, layout.DATABASE_OFFSET)
            size = os.fstat(image.fileno()).st_size
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(data) < layout.DATABASE_SIZE:
        needed = layout.DATABASE_OFFSET + layout.DATABASE_SIZE
        raise UsageError(f"{path}: too short: {size} bytes; the membership database of a disk ends at byte {needed}")
    return data


def _inspect(path: Path, data: bytes) -> Inspected:
    header, identity = _header(data)
    if header is None and identity is None and not any(map(_other_version, persistent.headers(data))):
        what = "holds something else" if any(data[:SECTOR_SIZE]) else "is empty"
        raise UsageError(f"{path}: no membership database: the disk {what} at byte {layout.DATABASE_OFFSET}")
    nodes = header.nodes if header else NODES_MAX
    found = [_record(place, identity or bytes(16), data) for place in _places(nodes)]
    if header is None:  # then nobody knows how many nodes there are
        found = [one for one in found if one.record == "header" or one.validity != NEVER_WRITTEN]
    view = newest_view(parse(identity, nodes, data[layout.REGIONS_OFFSET :])) if identity is not None else None
    return Inspected(
        cluster=header.cluster if header else None,
        cluster_id=None if identity is None else identity.hex(),
        nodes=header.nodes if header else None,
        membership=_plain_view(view) if view is not None and view.epoch else None,
        records=found,
    )


def _header(data: bytes) -> tuple[persistent.Header | None, bytes | None]:
    """The newest valid header and its cluster id; without one, the cluster id of the first record that is whole."""
    best: tuple[int, persistent.Header, bytes] | None = None
    for sector in persistent.headers(data):
        identity = owner(sector)
        try:
            frame = None if identity is None else unseal(identity, layout.RECORD_HEADER, NO_NODE, sector)
            if frame is not None and (best is None or frame.sequence > best[0]):
                best = frame.sequence, persistent.decode_header(frame.body), owner(sector) or b""
        except (Damaged, ValueError):
            continue
    if best is not None:
        return best[1], best[2]
    sectors = (data[start : start + SECTOR_SIZE] for start in range(0, len(data), SECTOR_SIZE))
    return None, next((identity for sector in sectors if (identity := owner(sector)) is not None), None)


def _other_version(sector: bytes) -> bool:
    """Whether it is a record of another version than this software's."""
    try:
        unseal(bytes(16), layout.RECORD_HEADER, NO_NODE, sector)
    except Damaged as why:
        return why.validity.endswith("version")
    return False


def _places(nodes: int) -> Iterator[_Place]:
    for copy in range(layout.COPIES):
        yield _Place("header", None, copy + 1, layout.header_offset(copy), layout.RECORD_HEADER, _header_in)
    for node in range(nodes):
        for copy in range(layout.COPIES):
            offset, kind = layout.configuration_offset(node, copy), layout.RECORD_CONFIGURATION
            yield _Place("configuration", node, copy + 1, offset, kind, _configuration_in)
    for node in range(nodes):
        region = layout.REGIONS_OFFSET + node * layout.REGION_SIZE
        offset = region + layout.HEARTBEAT_SECTOR * SECTOR_SIZE
        yield _Place("heartbeat", node, None, offset, layout.RECORD_HEARTBEAT, records.heartbeat_in)
        for copy in range(layout.COPIES):
            offset = region + (layout.BALLOT_SECTOR + copy) * SECTOR_SIZE
            yield _Place("ballot", node, copy + 1, offset, layout.RECORD_BALLOT, records.ballot_in)
        for copy in range(layout.COPIES):
            offset = region + (layout.COMMIT_SECTOR + copy) * SECTOR_SIZE
            kind = layout.RECORD_COMMIT
            yield _Place("commit", node, copy + 1, offset, kind, lambda frame: records.commit_in(frame, nodes))
        for copy in range(layout.COPIES):
            offset = region + (layout.MATCH_SECTOR + copy) * SECTOR_SIZE
            yield _Place("match", node, copy + 1, offset, layout.RECORD_MATCH, records.match_in)


def _header_in(frame: Sector) -> Value:
    return persistent.decode_header(frame.body)


def _configuration_in(frame: Sector) -> Value:
    return persistent.decode_configuration(frame.body)


def _record(place: _Place, identity: bytes, data: bytes) -> Record:
    lba = (layout.DATABASE_OFFSET + place.offset) // SECTOR_SIZE
    about = (place.record, place.node, place.copy, lba)
    sector = data[place.offset : place.offset + SECTOR_SIZE]
    owner_node = NO_NODE if place.node is None else place.node
    return judged(
        about, lambda: unseal(identity, place.kind, owner_node, sector), lambda frame: _plain(place.decode(frame))
    )


def judged(
    about: tuple[str, int | None, int | None, int],
    unsealed: Callable[[], Sector | None],
    says: Callable[[Sector], dict[str, Any]],
) -> Record:
    """What is to be thought of a sector. about: the first four fields of its record; says: raises ValueError."""
    try:
        frame = unsealed()
        if frame is None:
            return Record(*about, validity=NEVER_WRITTEN)
        return Record(*about, OK, sequence=frame.sequence, fields=says(frame))
    except Damaged as why:
        return Record(*about, why.validity, str(why))
    except ValueError as why:
        return Record(*about, Damaged.validity, str(why))


def _plain(value: Value) -> dict[str, Any]:
    """What a record says, for JSON; its sequence number is told elsewhere."""
    if isinstance(value, records.Commit):
        return _plain_view(value.view)
    told = {field: getattr(value, field) for field in type(value).value_fields if field != "sequence"}
    if isinstance(value, records.Heartbeat):
        told |= {"state": value.state.value, "hears": nodes_of(value.hears)}
    if isinstance(value, records.Match):
        told |= {"flags": nodes_of(value.flags), "bits": nodes_of(value.bits)}
    return told


def _plain_view(view: View) -> dict[str, Any]:
    return {
        "epoch": view.epoch,
        "step": view.step,
        "master": None if view.master == NO_MASTER else view.master,
        "nodes": [
            {
                "state": entry.state.value,
                "incarnation": entry.incarnation,
                "level": None if entry.state.transition is None else entry.level,
                "barrier": None if entry.state.transition is None else entry.barrier,
                "reach": None if entry.reach == NO_LEVEL else entry.reach,
                "forced": entry.forced,
            }
            for entry in view.entries
        ],
    }
