"""Which commands a reservation lets through: the tables of SPC-4 (table 65) and SBC-3 (table 9) as data.

What is in neither table changes something, as far as we know, and is treated as a write.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from hil.scsi.reservations import Type

if TYPE_CHECKING:
    from hil.scsi.reservations import Identity, State


class Access(Enum):
    """The rows of the standard's tables are of three kinds."""

    ALWAYS = auto()  # says who the unit is; or judged by the reservations' own rules (PERSISTENT RESERVE, RESERVE)
    READ = auto()
    WRITE = auto()


class Relation(Enum):
    """What a nexus is to the reservation."""

    HOLDER = auto()
    REGISTRANT = auto()
    OTHER = auto()


_EVERYTHING: Final = frozenset(Access)
_READS: Final = frozenset({Access.ALWAYS, Access.READ})
_NOTHING: Final = frozenset({Access.ALWAYS})

# The columns of the standard's tables. With the two ALL_REGISTRANTS types a registrant is always a holder.
ALLOWED: Final[dict[tuple[Type, Relation], frozenset[Access]]] = {
    **{(kind, Relation.HOLDER): _EVERYTHING for kind in Type},
    (Type.WRITE_EXCLUSIVE, Relation.REGISTRANT): _READS,
    (Type.EXCLUSIVE_ACCESS, Relation.REGISTRANT): _NOTHING,
    (Type.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, Relation.REGISTRANT): _EVERYTHING,
    (Type.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY, Relation.REGISTRANT): _EVERYTHING,
    (Type.WRITE_EXCLUSIVE, Relation.OTHER): _READS,
    (Type.EXCLUSIVE_ACCESS, Relation.OTHER): _NOTHING,
    (Type.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, Relation.OTHER): _READS,
    (Type.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY, Relation.OTHER): _NOTHING,
    (Type.WRITE_EXCLUSIVE_ALL_REGISTRANTS, Relation.OTHER): _READS,
    (Type.EXCLUSIVE_ACCESS_ALL_REGISTRANTS, Relation.OTHER): _NOTHING,
}

ACCESS: Final[dict[int, Access]] = {
    0x00: Access.ALWAYS,  # TEST UNIT READY
    0x03: Access.ALWAYS,  # REQUEST SENSE
    0x04: Access.WRITE,  # FORMAT UNIT
    0x08: Access.READ,  # READ (6)
    0x0A: Access.WRITE,  # WRITE (6)
    0x12: Access.ALWAYS,  # INQUIRY
    0x15: Access.WRITE,  # MODE SELECT (6)
    0x16: Access.ALWAYS,  # RESERVE (6)
    0x17: Access.ALWAYS,  # RELEASE (6)
    0x1A: Access.READ,  # MODE SENSE (6)
    0x1B: Access.WRITE,  # START STOP UNIT, but see below
    0x1C: Access.READ,  # RECEIVE DIAGNOSTIC RESULTS
    0x1D: Access.WRITE,  # SEND DIAGNOSTIC
    0x1E: Access.WRITE,  # PREVENT ALLOW MEDIUM REMOVAL, but see below
    0x25: Access.ALWAYS,  # READ CAPACITY (10)
    0x28: Access.READ,  # READ (10)
    0x2A: Access.WRITE,  # WRITE (10)
    0x2E: Access.WRITE,  # WRITE AND VERIFY (10)
    0x2F: Access.READ,  # VERIFY (10)
    0x34: Access.READ,  # PRE-FETCH (10)
    0x35: Access.WRITE,  # SYNCHRONIZE CACHE (10)
    0x37: Access.READ,  # READ DEFECT DATA (10)
    0x3B: Access.WRITE,  # WRITE BUFFER
    0x3C: Access.READ,  # READ BUFFER
    0x41: Access.WRITE,  # WRITE SAME (10)
    0x42: Access.WRITE,  # UNMAP
    0x48: Access.WRITE,  # SANITIZE
    0x4C: Access.WRITE,  # LOG SELECT
    0x4D: Access.ALWAYS,  # LOG SENSE
    0x55: Access.WRITE,  # MODE SELECT (10)
    0x5A: Access.READ,  # MODE SENSE (10)
    0x5E: Access.ALWAYS,  # PERSISTENT RESERVE IN
    0x5F: Access.ALWAYS,  # PERSISTENT RESERVE OUT
    0x83: Access.WRITE,  # EXTENDED COPY
    0x84: Access.READ,  # RECEIVE COPY RESULTS
    0x88: Access.READ,  # READ (16)
    0x89: Access.WRITE,  # COMPARE AND WRITE
    0x8A: Access.WRITE,  # WRITE (16)
    0x8B: Access.WRITE,  # ORWRITE (16)
    0x8E: Access.WRITE,  # WRITE AND VERIFY (16)
    0x8F: Access.READ,  # VERIFY (16)
    0x90: Access.READ,  # PRE-FETCH (16)
    0x91: Access.WRITE,  # SYNCHRONIZE CACHE (16)
    0x93: Access.WRITE,  # WRITE SAME (16)
    0x9C: Access.WRITE,  # WRITE ATOMIC (16)
    0x9E: Access.READ,  # SERVICE ACTION IN (16): GET LBA STATUS and what there is besides
    0xA0: Access.ALWAYS,  # REPORT LUNS
    0xA3: Access.ALWAYS,  # MAINTENANCE IN
    0xA4: Access.WRITE,  # MAINTENANCE OUT
    0xA8: Access.READ,  # READ (12)
    0xAA: Access.WRITE,  # WRITE (12)
    0xAE: Access.WRITE,  # WRITE AND VERIFY (12)
    0xAF: Access.READ,  # VERIFY (12)
    0xB7: Access.READ,  # READ DEFECT DATA (12)
}

# Where the service action decides.
BY_SERVICE_ACTION: Final[dict[tuple[int, int], Access]] = {
    (0x9E, 0x10): Access.ALWAYS,  # READ CAPACITY (16)
    (0xA3, 0x0C): Access.READ,  # REPORT SUPPORTED OPERATION CODES
    (0xA3, 0x0D): Access.READ,  # REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
}

# SPC-2 table 10: all that another initiator may do with a unit reserved by RESERVE (6).
_BESIDE_RESERVE_6: Final = frozenset({0x03, 0x12, 0x17, 0x4D, 0xA0})


def access(cdb: bytes) -> Access:
    """What the command ``cdb`` is for the tables."""
    code = cdb[0]
    if code == 0x1B and cdb[4] & 0xF1 == 0x01:  # START without power condition
        return Access.ALWAYS
    if code == 0x1E and not cdb[4] & 0x03:  # medium removal allowed again
        return Access.ALWAYS
    found = ACCESS.get(code, Access.WRITE)
    if code in (0x9E, 0xA3):
        return BY_SERVICE_ACTION.get((code, cdb[1] & 0x1F), found)
    return found


def relation(state: State, nexus: Identity) -> Relation:
    """What ``nexus`` is to the persistent reservation that there is."""
    if state.holds(nexus):
        return Relation.HOLDER
    return Relation.REGISTRANT if nexus in state.keys else Relation.OTHER


def conflicts(state: State, nexus: Identity, cdb: bytes) -> bool:
    """Whether the command has to end with RESERVATION CONFLICT."""
    if state.reserved_by is not None:
        return nexus != state.reserved_by and cdb[0] not in _BESIDE_RESERVE_6
    if state.type is None:
        return False
    return access(cdb) not in ALLOWED[state.type, relation(state, nexus)]
