"""What the ledger says about fencing: the writes of a nexus after its registration was removed (spec S6.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hil.scsi.ledger_records import Entry, NexusName, Record, RegistrationEnded
from hil.scsi.sense import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PERSISTENT_RESERVE_OUT: Final = 0x5F
_REGISTERS: Final = (0x00, 0x06)  # REGISTER, REGISTER AND IGNORE EXISTING KEY


class WriteAfterRemoval(NamedTuple):
    """A write that finished after its nexus had lost the registration, and before it registered again.

    What became of it is the write's own: ``write.conflict`` for one that was refused as it must be, TASK ABORTED for
    one that was queued and was aborted, ``write.changed`` for one that did reach the medium.
    """

    removal: RegistrationEnded
    write: Entry


def writes_after_removal(records: Iterable[Record]) -> Iterator[WriteAfterRemoval]:
    """Every one, in order; ``records`` as from ``read_all``."""
    removals: dict[tuple[NexusName, int], RegistrationEnded] = {}
    for record in records:
        if isinstance(record, RegistrationEnded):
            removals[record.nexus, record.lun] = record
        elif isinstance(record, Entry) and removals:
            whose = (record.nexus, record.lun)
            removal = removals.get(whose)
            if removal is None:
                continue
            if record.writes:
                yield WriteAfterRemoval(removal, record)
            elif _registers(record):
                del removals[whose]


def first_writes_after_removal(records: Iterable[Record]) -> list[WriteAfterRemoval]:
    """The first write of each nexus after each time that its registration was removed."""
    seen: dict[RegistrationEnded, WriteAfterRemoval] = {}
    for found in writes_after_removal(records):
        seen.setdefault(found.removal, found)
    return list(seen.values())


def _registers(entry: Entry) -> bool:
    return (
        entry.opcode == _PERSISTENT_RESERVE_OUT
        and entry.service_action & 0x1F in _REGISTERS
        and entry.status == Status.GOOD
        and entry.digest[:8] != bytes(8)
    )
