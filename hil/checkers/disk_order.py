"""What a SCSI target's ledger says, as observations: the registrations and writes in the order of the disk.

Of LUN 0 the writes to the active part of the membership database, of the others, which are data disks, all.

The ledger tells whose path a command came over, not which life of the node sent it. A write is taken for the life whose
key was registered when the write arrived: what arrives before a new key is the former life's, for a life registers
before it writes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from guestd.core.config import NODES_MAX
from guestd.fence.keys import life_of
from guestd.membership import layout
from guestd.membership.records import Ballot, Commit, Match
from guestd.membership.sector import SECTOR_SIZE
from hil.checkers.observation import Removal
from hil.checkers.records import is_heartbeat, record_of
from hil.scsi.ledger_records import Entry, RegistrationEnded
from hil.scsi.sense import Status

if TYPE_CHECKING:
    from hil.scsi.ledger_records import Record

_RESERVE_OUT: Final = 0x5F
_SERVICE_ACTION: Final = 0x1F
_REGISTERS: Final = (0x00, 0x06)  # REGISTER, REGISTER AND IGNORE EXISTING KEY
_REGIONS_END: Final = layout.REGIONS_LBA + NODES_MAX * layout.REGION_SECTORS
_LUN: Final = 0

Contents = Mapping[int, Sequence[tuple[int, bytes]]]
"""Number of a command to what it left on the medium: (LBA, data)."""


class Keyed(NamedTuple):
    """A key was registered."""

    order: int  # number of the command
    node: int
    incarnation: int
    lun: int = 0


class Removed(NamedTuple):
    """A key was removed."""

    order: int
    removal: Removal
    lun: int = 0


class Landed(NamedTuple):
    """A write into the active part of the membership database, or to a data disk.

    ``record``: what it wrote there, if that is known.
    """

    order: int
    node: int
    incarnation: int
    lba: int
    blocks: int
    record: Ballot | Commit | Match | None = None
    lun: int = 0


Fact = Keyed | Removed | Landed


def concerns(record: Record) -> bool:
    """Whether anything follows from that record of the ledger: most are reads, or writes of data."""
    if isinstance(record, RegistrationEnded):
        return True
    if not isinstance(record, Entry):
        return False
    if record.opcode == _RESERVE_OUT:
        return record.service_action & _SERVICE_ACTION in _REGISTERS and record.status == Status.GOOD
    in_regions = record.lba < _REGIONS_END and record.lba + record.blocks > layout.REGIONS_LBA
    return record.writes and record.changed and (in_regions or record.lun != _LUN)


def facts(records: Iterable[Record], nodes: int, cluster_id: bytes, contents: Contents | None) -> list[Fact]:
    """In their order; ``nodes``: commands of other nexuses, which are none of the cluster's, are left out."""
    reader = FactReader(nodes, cluster_id, contents)
    return [fact for record in records if (fact := reader.fact(record)) is not None]


class FactReader:
    """Which fact a record is, record after record."""

    def __init__(self, nodes: int, cluster_id: bytes, contents: Contents | None) -> None:
        self._nodes = nodes
        self._cluster_id = cluster_id
        self._contents = contents
        self._keys: dict[tuple[int, int], list[tuple[int, int]]] = {}  # LUN, nexus -> (arrival, incarnation)

    def fact(self, record: Record) -> Fact | None:
        """None: nothing follows from it."""
        if not concerns(record) or not isinstance(record, (RegistrationEnded, Entry)):
            return None
        if record.nexus.number >= self._nodes:
            return None
        if isinstance(record, RegistrationEnded):
            life = life_of(record.key)
            removed = None if life is None else Removal(*life, by=record.by.number)
            return None if removed is None else Removed(record.order, removed, record.lun)
        if record.opcode == _RESERVE_OUT:
            life = life_of(int.from_bytes(record.digest[:8], "big"))
            if life is None:
                return None
            self._keys.setdefault((record.lun, record.nexus.number), []).append((record.arrival_ns, life[1]))
            return Keyed(record.order, *life, record.lun)
        registered = self._keys.get((record.lun, record.nexus.number), ())
        incarnation = next((one for at, one in reversed(registered) if at <= record.arrival_ns), 0)
        written = None
        if self._contents is not None and record.lun == _LUN:
            written = _record(self._contents.get(record.order, ()), self._nodes, self._cluster_id)
        place = (record.lba, record.blocks)
        return Landed(record.order, record.nexus.number, incarnation, *place, written, record.lun)


def _record(pieces: Sequence[tuple[int, bytes]], nodes: int, cluster_id: bytes) -> Ballot | Commit | Match | None:
    for lba, data in pieces:
        if not layout.REGIONS_LBA <= lba < _REGIONS_END or is_heartbeat(lba):
            continue
        found = record_of(cluster_id, nodes, lba, data)
        if isinstance(found, (Ballot, Commit, Match)):
            return found
    return None


def size(fact: Landed) -> int:
    """Bytes that were to be written."""
    return fact.blocks * SECTOR_SIZE
