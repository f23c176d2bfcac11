"""VDM's tables: read from both copies and the intents, checked as a whole, and changed.

A change is one record of a virtual disk and one more in the header's sequence number. Its writes, each on the medium
before the next is begun:

    1  the intent, in the own place, twice by one command
    2  the record, copy 1     3  copy 2
    4  the header, copy 1     5  copy 2

Torn or never begun, the intent counts for nothing, and nothing else was written: the change is undone. From then on it
is completed by whoever reads the tables next: `load` takes the intent's record in place of whatever stands there, and
says what is to be written. Nobody else changes the tables meanwhile, since their lock stays with the dead node until
that was done; and once the header has the change's number the intent is void, so that it need not be wiped out.

The digest in header and intent is over all records: a record that was written but never reached the medium, or an old
copy of a part of the disk, does not fit it.
"""

from __future__ import annotations

import zlib

from guestd.core.value import Value, replace
from guestd.membership.sector import NO_NODE, SECTOR_SIZE, Damaged, Foreign, OtherVersion, unseal
from guestd.vdm import layout, records
from guestd.vdm.errors import TablesRefused
from guestd.vdm.extents import owned
from guestd.vdm.records import Disk, Header, Intent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from guestd.membership.sector import Sector

    _T = TypeVar("_T")
    Found = list[tuple[int, _T] | str]  # of each copy: sequence number and what it says, or what is wrong with it
    Writes = tuple[tuple[int, bytes], ...]  # LBA and sectors, in the order in which they are to be written


class Tables(Value):
    """What the tables say. sectors: the records as they are on the disk; both copies are the same bytes."""

    sequence: int
    header: Header
    disks: tuple[Disk | None, ...]  # by slot
    sectors: tuple[bytes, ...]

    def find(self, name: str) -> tuple[int, Disk] | None:
        """Slot and record."""
        return next(((slot, disk) for slot, disk in enumerate(self.disks) if disk and disk.name == name), None)


class Loaded(Value):
    """Tables that can be believed. repairs: what has to be written, under the lock in EX, before they are changed."""

    tables: Tables
    repairs: Writes
    damaged: tuple[tuple[str, str], ...]  # (record and copy, what is wrong with it)
    intent: Intent | None  # that is completed by the repairs


def load(cluster_id: bytes, sectors: list[bytes], known: Tables | None = None) -> Loaded:
    """From the sectors of both copies and of the intents of at least as many nodes as there are (`tables_blocks`).

    A sector that could not be read is empty. known: as they were some time ago; what is the same is not decoded again.
    Raises TablesRefused.
    """
    try:
        return _load(cluster_id, sectors, known)
    except OtherVersion as why:
        raise TablesRefused(str(why), why.validity) from None


def with_record(cluster_id: bytes, tables: Tables, slot: int, disk: Disk | None) -> Tables:
    """After a change: another record in that slot."""
    sequence = tables.sequence + 1
    sectors = list(tables.sectors)
    sectors[slot] = records.encode_disk(cluster_id, sequence, slot, disk)
    header = replace(tables.header, digest=_digest(sectors))
    disks = (*tables.disks[:slot], disk, *tables.disks[slot + 1 :])
    return Tables(sequence, header, disks, tuple(sectors))


def writes(cluster_id: bytes, node: int, operation: str, slot: int, after: Tables) -> Writes:
    """How that node makes the change to these tables."""
    intent = Intent(after.sequence, operation, slot, after.header.digest, after.disks[slot])
    return (
        (layout.intent_lba(node), records.encode_intent(cluster_id, node, intent)),
        *((layout.disk_lba(slot, copy), after.sectors[slot]) for copy in range(layout.COPIES)),
        *((layout.header_lba(copy), encoded_header(cluster_id, after)) for copy in range(layout.COPIES)),
    )


def encoded_header(cluster_id: bytes, tables: Tables) -> bytes:
    """One sector, the same in both copies."""
    return records.encode_header(cluster_id, tables.sequence, tables.header)


def empty(cluster_id: bytes, nodes: int, disk_blocks: int) -> Tables:
    """Of a disk of that many blocks. Raises ValueError if it has no room for a unit."""
    # As the partition table has it: up to the last whole MiB before its backup, which takes 33 blocks.
    end = (disk_blocks - 33) // 2048 * 2048
    units = max(0, end - layout.EXTENTS_LBA) // layout.UNIT_BLOCKS
    if not units:
        needed = layout.EXTENTS_OFFSET + (2 << 20)
        raise ValueError(f"a disk of {disk_blocks * SECTOR_SIZE} bytes has no room for volumes (legal: from {needed})")
    if units >= 1 << 32:
        raise ValueError(f"a disk of {disk_blocks * SECTOR_SIZE} bytes has more than {(1 << 32) - 1} units of 64 KiB")
    sectors = tuple(records.encode_disk(cluster_id, 1, slot, None) for slot in range(layout.SLOTS))
    header = Header(nodes, units, layout.UNIT_BLOCKS, records.region_blocks(units), _digest(sectors))
    return Tables(1, header, (None,) * layout.SLOTS, sectors)


# -- inner workings


def _load(cluster_id: bytes, sectors: list[bytes], known: Tables | None) -> Loaded:
    damaged: list[tuple[str, str]] = []
    headers = [sectors[layout.header_lba(copy) - layout.TABLES_LBA] for copy in range(layout.COPIES)]
    read = _read(cluster_id, layout.RECORD_HEADER, NO_NODE, headers, records.header_in)
    sequence, header = _agreed("header", read, headers, damaged)
    intent = _pending(cluster_id, sequence, header.nodes, sectors, damaged)
    disks: list[Disk | None] = []
    wanted: list[bytes] = []
    first, second = (_slots(sectors, copy) for copy in range(layout.COPIES))
    older = known if known is not None and known.sequence <= sequence else None
    if older is not None and intent is None and first == second == older.sectors:
        disks += older.disks
        wanted += older.sectors
    else:
        for slot in range(layout.SLOTS):
            copies = [first[slot], second[slot]]
            changed = intent is not None and intent.slot == slot
            if older is not None and not changed and copies == [older.sectors[slot]] * layout.COPIES:
                disk, sector = older.disks[slot], copies[0]
            else:
                disk, sector = _record(cluster_id, slot, sequence, intent, copies, damaged)
            disks.append(disk)
            wanted.append(sector)
    digest = header.digest if intent is None else intent.digest
    if intent is not None and intent.sequence == sequence and digest != header.digest:
        raise TablesRefused(f"the intent of change {sequence} and the header have different digests")
    if _digest(wanted) != digest:
        raise TablesRefused(f"the records do not add up to the digest of change {sequence}: at least one is an old one")
    header = replace(header, digest=digest)
    tables = Tables(sequence if intent is None else intent.sequence, header, tuple(disks), tuple(wanted))
    _check(tables)
    return Loaded(tables, _repairs(cluster_id, tables, sectors), tuple(damaged), intent)


def _slots(sectors: list[bytes], copy: int) -> tuple[bytes, ...]:
    """That copy of all records."""
    start = layout.disk_lba(0, copy) - layout.TABLES_LBA
    return tuple(sectors[start : start + layout.SLOTS])


def _read(
    cluster_id: bytes, kind: int, place: int, copies: list[bytes], decode: Callable[[Sector], _T]
) -> list[tuple[int, _T] | Exception]:
    """What each copy says, or what is wrong with it. Raises OtherVersion if one is of another version."""
    found: list[tuple[int, _T] | Exception] = []
    for copy, data in enumerate(copies):
        if copy and data == copies[copy - 1]:
            found.append(found[-1])
            continue
        try:
            frame = unseal(cluster_id, kind, place, data, layout.FORM) if data else None
            if frame is None:
                raise Damaged("was never written" if data else "cannot be read")
            found.append((frame.sequence, decode(frame)))
        except OtherVersion:
            raise
        except (Damaged, ValueError) as why:
            found.append(why)
    return found


def _agreed(
    name: str, found: list[tuple[int, _T] | Exception], copies: list[bytes], damaged: list[tuple[str, str]]
) -> tuple[int, _T]:
    """The newest copy that can be believed. Raises TablesRefused if there is none, or two say different things."""
    wrong = [(copy, why) for copy, why in enumerate(found) if isinstance(why, Exception)]
    whole = [(copy, one) for copy, one in enumerate(found) if not isinstance(one, Exception)]
    if not whole:
        foreign = all(isinstance(why, Foreign) for _, why in wrong)
        text = "; ".join(f"{name}, copy {copy + 1}: {why}" for copy, why in wrong)
        raise TablesRefused(text, "foreign cluster" if foreign else "damaged")
    newest = max(one[0] for _, one in whole)
    best = [copy for copy, one in whole if one[0] == newest]
    if len({copies[copy] for copy in best}) > 1:
        raise TablesRefused(f"{name}: the copies are both of change {newest} and differ")
    damaged += [(f"{name}, copy {copy + 1}", str(why)) for copy, why in wrong]
    agreed = found[best[0]]
    assert not isinstance(agreed, Exception), "it is one of the whole ones"
    return agreed


def _pending(
    cluster_id: bytes, sequence: int, nodes: int, sectors: list[bytes], damaged: list[tuple[str, str]]
) -> Intent | None:
    """The intent of the change after that one, or of that one itself, which may not have come to its end."""
    if len(sectors) < layout.tables_blocks(nodes):
        raise TablesRefused(f"the header says {nodes} nodes, {len(sectors)} blocks were read")
    found: dict[int, tuple[int, Intent]] = {}
    for node in range(nodes):
        first = layout.intent_lba(node) - layout.TABLES_LBA
        copies = [data for data in sectors[first : first + layout.COPIES] if data and any(data)]
        read = _read(cluster_id, layout.RECORD_INTENT, node, copies, records.intent_in)
        if all(isinstance(one, Exception) for one in read):
            damaged += [(f"intent of node {node}, copy {copy + 1}", str(why)) for copy, why in enumerate(read)]
            continue
        number, intent = _agreed(f"intent of node {node}", read, copies, damaged)
        if number > sequence + 1:
            raise TablesRefused(f"node {node} has intended change {number}, the tables are of change {sequence}")
        if number < sequence:
            continue
        if number in found:
            raise TablesRefused(f"nodes {found[number][0]} and {node} both have intended change {number}")
        found[number] = node, intent
    return found[max(found)][1] if found else None


def _record(
    cluster_id: bytes,
    slot: int,
    sequence: int,
    intent: Intent | None,
    copies: list[bytes],
    damaged: list[tuple[str, str]],
) -> tuple[Disk | None, bytes]:
    """What a slot says, and the sector that should stand in both copies."""
    name = f"record {slot}"
    read = _read(cluster_id, layout.RECORD_DISK, slot, copies, lambda frame: records.disk_in(frame.body))
    if any(not isinstance(one, Exception) and one[0] > sequence + 1 for one in read):
        raise TablesRefused(f"{name} is of a later change than the header's {sequence}")
    if intent is not None and intent.slot == slot:
        damaged += [
            (f"{name}, copy {copy + 1}", str(why)) for copy, why in enumerate(read) if isinstance(why, Exception)
        ]
        return intent.disk, records.encode_disk(cluster_id, intent.sequence, slot, intent.disk)
    first = read[0]
    if copies[0] == copies[1] and not isinstance(first, Exception) and first[0] <= sequence:  # as it nearly always is
        return first[1], copies[0]
    # What a change wrote whose intent nobody can read is undone by the other copy.
    believed = [
        Damaged(f"is of change {one[0]}, which was never completed")
        if not isinstance(one, Exception) and one[0] > sequence
        else one
        for one in read
    ]
    number, disk = _agreed(name, believed, copies, damaged)
    at = next(place for place, one in enumerate(believed) if not isinstance(one, Exception) and one[0] == number)
    return disk, copies[at]


def _check(tables: Tables) -> None:
    """What the records must be together. Raises TablesRefused."""
    disks = [disk for disk in tables.disks if disk is not None]
    try:
        owned(disks)
    except ValueError as why:
        raise TablesRefused(str(why)) from None
    for disk in disks:
        if any(one.first + one.count > tables.header.units for copy in disk.copies for one in copy):
            raise TablesRefused(f"{disk.name!r} has units beyond the {tables.header.units} that there are")
        if disk.id > tables.sequence:
            raise TablesRefused(f"{disk.name!r} was created by change {disk.id}, the tables are of {tables.sequence}")
    for what in ([disk.name for disk in disks], [disk.id for disk in disks]):
        if len(set(what)) < len(what):
            raise TablesRefused(f"two virtual disks have the same name or id: {sorted(what, key=str)}")


def _repairs(cluster_id: bytes, tables: Tables, sectors: list[bytes]) -> Writes:
    """First all records, then the headers: who reads in between still finds the intent."""
    copies = [_slots(sectors, copy) for copy in range(layout.COPIES)]
    wanted = [
        (layout.disk_lba(slot, copy), data)
        for copy, found in enumerate(copies)
        if found != tables.sectors
        for slot, data in enumerate(tables.sectors)
        if data != found[slot]
    ]
    header = encoded_header(cluster_id, tables)
    headers = [layout.header_lba(copy) for copy in range(layout.COPIES)]
    return (*wanted, *((lba, header) for lba in headers if sectors[lba - layout.TABLES_LBA] != header))


def _digest(sectors: list[bytes] | tuple[bytes, ...]) -> int:
    # Of their checksums: a CRC goes on over a sector with its own CRC to the same number, whatever the sector says.
    return zlib.crc32(b"".join([sector[-4:] for sector in sectors]))
