"""Status codes and sense data (SAM-5 5.3, SPC-4 4.5). By ``Refused`` a command ends with CHECK CONDITION."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple


class Status(IntEnum):
    """SAM-5 table 33."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    TASK_ABORTED = 0x40  # never sent (control mode page TAS=0); in the ledger it marks a command that got no answer


class Sense(NamedTuple):
    """Sense key, additional sense code and its qualifier."""

    key: int
    asc: int
    ascq: int


NO_SENSE: Final = Sense(0x0, 0x00, 0x00)
NOT_READY: Final = Sense(0x2, 0x04, 0x00)  # cause not reportable
OFFLINE: Final = Sense(0x2, 0x04, 0x12)
MEDIUM_READ_ERROR: Final = Sense(0x3, 0x11, 0x00)
MEDIUM_WRITE_ERROR: Final = Sense(0x3, 0x0C, 0x00)
INTERNAL_TARGET_FAILURE: Final = Sense(0x4, 0x44, 0x00)
INVALID_OPERATION_CODE: Final = Sense(0x5, 0x20, 0x00)
LBA_OUT_OF_RANGE: Final = Sense(0x5, 0x21, 0x00)
INVALID_FIELD_IN_CDB: Final = Sense(0x5, 0x24, 0x00)
UNIT_NOT_SUPPORTED: Final = Sense(0x5, 0x25, 0x00)
PARAMETER_LIST_LENGTH: Final = Sense(0x5, 0x1A, 0x00)
INVALID_FIELD_IN_PARAMETERS: Final = Sense(0x5, 0x26, 0x00)
SAVING_NOT_SUPPORTED: Final = Sense(0x5, 0x39, 0x00)
POWER_ON: Final = Sense(0x6, 0x29, 0x00)
LUN_RESET: Final = Sense(0x6, 0x29, 0x03)
NEXUS_LOSS: Final = Sense(0x6, 0x29, 0x07)
COMMANDS_CLEARED: Final = Sense(0x6, 0x2F, 0x00)
MODE_PARAMETERS_CHANGED: Final = Sense(0x6, 0x2A, 0x01)
WRITE_PROTECTED: Final = Sense(0x7, 0x27, 0x02)  # LOGICAL UNIT SOFTWARE WRITE PROTECTED
# RFC 7143 11.4.7.2: what the transport found wrong with the data of a write.
UNEXPECTED_UNSOLICITED_DATA: Final = Sense(0xB, 0x0C, 0x0C)
INCORRECT_AMOUNT_OF_DATA: Final = Sense(0xB, 0x0C, 0x0D)
PROTOCOL_SERVICE_CRC_ERROR: Final = Sense(0xB, 0x47, 0x05)  # also what a gap in DataSN is taken for (RFC 7143 7.9)
MISCOMPARE: Final = Sense(0xE, 0x1D, 0x00)

_FIXED: Final = struct.Struct(">BBBIB4sBBB3s")


class Refused(Exception):
    """The command ends with CHECK CONDITION and this sense; ``information`` is the field of that name (SPC-4 4.5.2)."""

    def __init__(self, sense: Sense, information: int | None = None) -> None:
        super().__init__(sense)
        self.sense = sense
        self.information = information


def invalid_field(byte: int, bit: int | None = None) -> Refused:
    """INVALID FIELD IN CDB that points at ``byte`` (and ``bit``) of the CDB (SPC-4 4.5.2.4.2)."""
    return _InvalidField(byte, bit)


class _InvalidField(Refused):
    def __init__(self, byte: int, bit: int | None) -> None:
        super().__init__(INVALID_FIELD_IN_CDB)
        flags = 0xC0 if bit is None else 0xC8 | bit  # SKSV, C/D = the CDB, BPV and bit pointer
        self.specific = struct.pack(">BH", flags, byte)


def sense_bytes(refused: Refused) -> bytes:
    """Fixed format sense data for a refusal, 18 bytes."""
    specific = refused.specific if isinstance(refused, _InvalidField) else b"\0\0\0"
    return fixed(refused.sense, refused.information, specific)


def fixed(sense: Sense, information: int | None = None, specific: bytes = b"\0\0\0") -> bytes:
    """Current error in fixed format (SPC-4 4.5.3), 18 bytes; ``information`` above 32 bits is left out."""
    fits = information is not None and information < 2**32
    code = 0xF0 if fits else 0x70
    return _FIXED.pack(code, 0, sense.key, information or 0 if fits else 0, 10, b"", sense.asc, sense.ascq, 0, specific)


def descriptor(sense: Sense) -> bytes:
    """Current error in descriptor format without descriptors (SPC-4 4.5.2), 8 bytes."""
    return bytes((0x72, sense.key, sense.asc, sense.ascq, 0, 0, 0, 0))
