"""INQUIRY (SPC-4 6.6) and its vital product data pages (SPC-4 7.8, SBC-3 6.6)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hil.scsi import identity
from hil.scsi.command import Command, Outcome
from hil.scsi.sense import Status, invalid_field

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.scsi.unit import LogicalUnit

VENDOR: Final = b"HIL     "
PRODUCT: Final = b"SHARED DISK     "
REVISION: Final = b"0001"
# Longest READ, WRITE or VERIFY: bounds the memory that one command can take. Linux asks for at most 1280 KiB unless
# told otherwise and obeys the limit of page B0h.
TRANSFER_BLOCKS_MAX: Final = 2048
COMPARE_AND_WRITE_BLOCKS_MAX: Final = 255  # what fits into its CDB
# While one command runs all others wait: these bound how long, and what a cache or a snapshot may have to keep of it.
WRITE_SAME_BLOCKS_MAX: Final = 32768
UNMAP_BLOCKS_MAX: Final = 32768
UNMAP_DESCRIPTORS_MAX: Final = 256
_GRANULARITY_BLOCKS: Final = 8  # 4 KiB, the host's page: less than that makes no hole
_VERSIONS: Final = (0x00A0, 0x0960, 0x0460, 0x04C0)  # SAM-5, iSCSI, SPC-4, SBC-3 without version claimed
_NO_UNIT: Final = 0x7F  # qualifier 011b, type 1Fh: there is no such unit at this target


def inquiry(unit: LogicalUnit | None, command: Command) -> Outcome:
    """``unit`` None: the answer for a LUN that does not exist, which must not be an error (SPC-4 6.6.2)."""
    cdb = command.cdb
    allocation = int.from_bytes(cdb[3:5], "big")
    if cdb[1] & 0x02:  # CMDDT, obsolete since SPC-3
        raise invalid_field(1, 1)
    if not cdb[1] & 0x01:
        if cdb[2]:
            raise invalid_field(2)
        return Outcome(Status.GOOD, _standard(unit)[:allocation])
    page = PAGES.get(cdb[2]) if unit else None
    if unit is None or page is None:
        raise invalid_field(2)
    body = page(unit, command)
    return Outcome(Status.GOOD, (struct.pack(">BBH", 0, cdb[2], len(body)) + body)[:allocation])


def _standard(unit: LogicalUnit | None) -> bytes:
    kind = 0x00 if unit else _NO_UNIT
    # Version 6 = SPC-4; HISUP and response data format 2; CMDQUE.
    head = bytes((kind, 0, 6, 0x12, 96 - 5, 0, 0, 0x02))
    versions = struct.pack(f">{len(_VERSIONS)}H", *_VERSIONS)
    return (head + VENDOR + PRODUCT + REVISION + bytes(22) + versions).ljust(96, b"\0")


def _supported(unit: LogicalUnit, command: Command) -> bytes:
    return bytes(sorted(PAGES))


def _serial(unit: LogicalUnit, command: Command) -> bytes:
    return unit.serial.encode()


def _identification(unit: LogicalUnit, command: Command) -> bytes:
    name = identity.naa(unit.serial)
    t10 = VENDOR + unit.serial.encode()
    port = unit.peers.port_number(command.nexus.portal)
    return b"".join(
        (
            struct.pack(">BBBB", 0x01, 0x03, 0, len(name)) + name,  # binary, the logical unit's NAA
            struct.pack(">BBBB", 0x02, 0x01, 0, len(t10)) + t10,  # ASCII, the logical unit's T10 vendor identification
            struct.pack(">BBBBHH", 0x51, 0x94, 0, 4, 0, port),  # iSCSI, relative identifier of the target port
        )
    )


def _block_limits(unit: LogicalUnit, command: Command) -> bytes:
    """SBC-3 6.6.3; the last three fields are SBC-4's, for WRITE ATOMIC."""
    transfer = struct.pack(
        ">BBHIII",
        1,  # WSNZ: WRITE SAME of 0 blocks does not mean all up to the end, too easily said by mistake of a shared disk
        COMPARE_AND_WRITE_BLOCKS_MAX,
        _GRANULARITY_BLOCKS,
        TRANSFER_BLOCKS_MAX,
        TRANSFER_BLOCKS_MAX,  # optimal
        0,  # no limit to PRE-FETCH
    )
    # UGAVALID with an alignment of 0.
    unmap = struct.pack(">IIII", UNMAP_BLOCKS_MAX, UNMAP_DESCRIPTORS_MAX, _GRANULARITY_BLOCKS, 0x80000000)
    atomic = struct.pack(">QIII", WRITE_SAME_BLOCKS_MAX, TRANSFER_BLOCKS_MAX, 0, 0)
    return (transfer + unmap + atomic).ljust(60, b"\0")


def _characteristics(unit: LogicalUnit, command: Command) -> bytes:
    return struct.pack(">H", 1).ljust(60, b"\0")  # medium rotation rate 1: does not rotate


def _provisioning(unit: LogicalUnit, command: Command) -> bytes:
    """SBC-3 6.6.4: no threshold; LBPU, LBPWS, LBPWS10, LBPRZ=001b, ANC_SUP=0; thin provisioned."""
    return bytes((0, 0xE4, 0x02, 0))


PAGES: Final[dict[int, Callable[[LogicalUnit, Command], bytes]]] = {
    0x00: _supported,
    0x80: _serial,
    0x83: _identification,
    0xB0: _block_limits,
    0xB1: _characteristics,
    0xB2: _provisioning,
}
