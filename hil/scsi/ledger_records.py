"""The records of the ledger: what they say, and how they are laid out.

A file is a header, then records of 64 bytes, little endian; some span several. What belongs to a command comes right
before its own record:

====  ==================================================================================================
kind
====  ==================================================================================================
1     a command
2     the name of a nexus, before its first command
3     the end of a registration, by the command that follows
4     faults that struck the command that follows
5     a piece of data that reached the medium where a fault had a say, by the command that follows
6     a fault is injected
7     a fault is healed
8     a nexus lost power and with it what it had in the disk's volatile cache; then pieces (kind 5) that
      are different by that. A piece may also be what a target found at its start
====  ==================================================================================================
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hil.errors import HilError
from hil.scsi.digest import DIGEST_BYTES, digest
from hil.scsi.operations import NAMES, READS, WRITES
from hil.scsi.sense import Sense, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.scsi.command import Command, Outcome
    from hil.scsi.placement import Piece


class Kind(IntEnum):
    """The first byte of a record."""

    COMMAND = 1
    NEXUS = 2
    REGISTRATION_ENDED = 3
    STRUCK = 4
    PLACED = 5
    FAULT_INJECTED = 6
    FAULT_HEALED = 7
    POWER_LOST = 8


MAGIC: Final = b"HILLEDGR"
VERSION: Final = 3
RECORD_BYTES: Final = 64
HEADER: Final = struct.Struct("<8sHH4xQQ32x")  # magic, version, record size, monotonic and real time of creation (ns)
# kind, flags, nexus, LUN, operation code, service action; order, arrival, completion, LBA; blocks; a byte each of
# status, sense key, additional sense code and qualifier; digest
COMMAND: Final = struct.Struct("<BBHHBBQQQQII16s")
NEXUS: Final = struct.Struct("<BBHHxx")  # kind, count of records, nexus, bytes of text; then initiator, NUL, portal
ENDED: Final = struct.Struct("<BxHHHQQQ32x")  # kind, nexus, LUN, nexus that did it, order, time, key
STRUCK: Final = struct.Struct("<BBxxxxxxQ12I")  # kind, count, order, numbers of faults
_STRUCK_MAX: Final = 12
PLACED: Final = struct.Struct("<BBHxxxxQQQ16s16x")  # kind, flags, LUN, order, LBA, bytes, digest
INJECTED: Final = struct.Struct("<BBHIQQ")  # kind, count of records, bytes of text, number, order, time; then JSON
HEALED: Final = struct.Struct("<BBxxIQQQ32x")  # kind, why, number, order, time, commands struck
POWER_LOST: Final = struct.Struct("<BxHHxxQQ40x")  # kind, nexus, LUN, order, time
CHANGED: Final = 0x01
FLUSHED: Final = 0x02
UNMAPPED: Final = 0x01
BY_POWER_LOSS: Final = 0x02
FOUND: Final = 0x04
WHY: Final = ("asked", "time", "count", "end")
BLOCKS_MAX: Final = 2**32 - 1
_PACK_COMMAND: Final = COMMAND.pack
_COMMAND_KIND: Final = int(Kind.COMMAND)
_NO_DIGEST: Final = bytes(DIGEST_BYTES)
_WHAT_IT_GOT: Final = 1
_WHAT_IT_SENT: Final = 2
_DIGESTED: Final = bytes(  # by operation code
    _WHAT_IT_GOT if opcode in READS else _WHAT_IT_SENT if opcode in WRITES else 0 for opcode in range(256)
)


class NexusName(NamedTuple):
    """Who sent a command; ``number`` counts from 0 in the order of the target's ``--portal`` options."""

    number: int
    initiator: str
    portal: str


class Placed(NamedTuple):
    """``length`` bytes, whole blocks, reached the medium from block ``lba`` on; unmapped ones read as zeros."""

    lun: int
    lba: int
    length: int
    digest: bytes
    unmapped: bool = False


class Entry(NamedTuple):
    """One command. Times are the host's monotonic clock in ns, ``lba`` and ``blocks`` are in blocks of 512 bytes.

    ``order`` ascends by one from 0 in the order in which commands took effect. ``digest`` (``hil.scsi.digest``) is of
    what a write sent, as far as it was to be written, and of what a successful read got; zeros for all else.
    ``blocks`` stops at 2**32 - 1; of an UNMAP they are the span from the first to the last block that is named.
    ``changed``: data of this command reached the medium. ``flushed``: what it wrote (FUA), or the extent of a command
    that writes nothing (SYNCHRONIZE CACHE), left the volatile cache, answered or not. ``service_action``: byte 1 of
    the CDB. A status of TASK ABORTED marks a command that never got an answer.

    ``faults`` are the numbers of the injected faults that struck it, in their order. ``placed`` is then what really
    reached the medium; None of a command that no fault struck: what it says itself.

    Of a PERSISTENT RESERVE OUT ``lba`` is the reservation key, ``blocks`` the byte of scope and type, and the first 8
    bytes of ``digest`` (big endian) are the service action reservation key.
    """

    order: int
    arrival_ns: int
    completion_ns: int
    nexus: NexusName
    lun: int
    opcode: int
    service_action: int
    lba: int
    blocks: int
    digest: bytes
    status: int
    sense: Sense
    changed: bool
    faults: tuple[int, ...] = ()
    placed: tuple[Placed, ...] | None = None
    flushed: bool = False

    @property
    def name(self) -> str:
        """The operation's name, ``opcode xxh`` when the target knows none."""
        return NAMES.get(self.opcode, f"opcode {self.opcode:02x}h")

    @property
    def writes(self) -> bool:
        """Whether the command was to change the medium, successful or not."""
        return self.opcode in WRITES

    @property
    def answered(self) -> bool:
        """Whether whoever sent it got an answer: one that was aborted got none."""
        return self.status != Status.TASK_ABORTED

    @property
    def conflict(self) -> bool:
        """Refused because of a reservation."""
        return self.status == Status.RESERVATION_CONFLICT


class RegistrationEnded(NamedTuple):
    """A registration at ``lun`` with ``key`` is no more, because of command ``order`` of nexus ``by``."""

    order: int
    time_ns: int
    nexus: NexusName
    lun: int
    key: int
    by: NexusName


class FaultInjected(NamedTuple):
    """A fault is in force from command ``order`` on; ``about`` as ``hil.scsi.faults.fault.Fault.describe`` has it."""

    order: int
    time_ns: int
    number: int
    about: dict[str, Any]


class FaultHealed(NamedTuple):
    """A fault is over; it struck ``struck`` commands. ``why``: asked, time, count, end (of the target)."""

    order: int
    time_ns: int
    number: int
    struck: int
    why: str


class PowerLost(NamedTuple):
    """Before command ``order`` the node of ``nexus`` lost power; what ``lun`` lost by it follows as ``Reverted``."""

    order: int
    time_ns: int
    nexus: NexusName
    lun: int


class Reverted(NamedTuple):
    """Before command ``order`` these blocks went back to an older content, in a power failure."""

    order: int
    piece: Placed


class Found(NamedTuple):
    """Before command ``order`` a target began, and these blocks held what no command in the ledger has written.

    An earlier target was killed before it could record, and answer, what it had done. Only with kept data.
    """

    order: int
    piece: Placed


Record = NexusName | Entry | RegistrationEnded | FaultInjected | FaultHealed | PowerLost | Reverted | Found


class NotALedger(HilError):
    """The file has no header of a ledger, or one of another version."""


def header(monotonic_ns: int, real_ns: int) -> bytes:
    """Of a file that begins at that time."""
    return HEADER.pack(MAGIC, VERSION, RECORD_BYTES, monotonic_ns, real_ns)


def pack_nexus(name: NexusName) -> bytes:
    """One or more records."""
    text = f"{name.initiator}\0{name.portal}".encode(errors="replace")
    records = -(-(NEXUS.size + len(text)) // RECORD_BYTES)
    return (NEXUS.pack(Kind.NEXUS, records, name.number, len(text)) + text).ljust(records * RECORD_BYTES, b"\0")


def pack_ended(order: int, nexus: int, lun: int, key: int, by: int, at_ns: int) -> bytes:
    """The end of a registration at that time, by the command that will have number ``order``."""
    return ENDED.pack(Kind.REGISTRATION_ENDED, nexus, lun, by, order, at_ns, key)


def pack_injected(order: int, number: int, about: dict[str, Any], at_ns: int) -> bytes:
    """One or more records."""
    text = json.dumps(about, separators=(",", ":")).encode()
    records = -(-(INJECTED.size + len(text)) // RECORD_BYTES)
    head = INJECTED.pack(Kind.FAULT_INJECTED, records, len(text), number, order, at_ns)
    return (head + text).ljust(records * RECORD_BYTES, b"\0")


def pack_healed(order: int, number: int, struck: int, why: str, at_ns: int) -> bytes:
    """A fault that is over since that time."""
    return HEALED.pack(Kind.FAULT_HEALED, WHY.index(why), number, order, at_ns, struck)


def pack_power_lost(order: int, nexus: int, lun: int, at_ns: int) -> bytes:
    """A node that has lost power at that time."""
    return POWER_LOST.pack(Kind.POWER_LOST, nexus, lun, order, at_ns)


def pack_placed(order: int, lun: int, piece: Piece, flags: int = 0) -> bytes:
    """What reached the medium by the command that will have number ``order``; or before it, as ``flags`` tell."""
    flags |= UNMAPPED if piece.data is None else 0
    found = _NO_DIGEST if piece.data is None else digest(piece.data)
    return PLACED.pack(Kind.PLACED, flags, lun, order, piece.lba, piece.length, found)


def pack_struck(order: int, numbers: Sequence[int]) -> bytes:
    """One or more records."""
    pieces = [numbers[start : start + _STRUCK_MAX] for start in range(0, len(numbers), _STRUCK_MAX)]
    return b"".join(
        STRUCK.pack(Kind.STRUCK, len(piece), order, *piece, *(0,) * (_STRUCK_MAX - len(piece))) for piece in pieces
    )


def pack_command(order: int, nexus: int, command: Command, outcome: Outcome, at_ns: int) -> bytes:
    """A command that finished at that time. Runs once per command: written to be fast."""
    cdb, found = command.cdb, command.digest
    opcode = cdb[0]
    if not found:
        what = _DIGESTED[opcode]
        data = outcome[1] if what == _WHAT_IT_GOT else command.data if what else None
        found = digest(data) if data else _NO_DIGEST
    status, sense, blocks = outcome[0], outcome[2], command.blocks
    if sense:
        status |= sense[2] << 8 | sense[12] << 16 | sense[13] << 24
    return _PACK_COMMAND(
        _COMMAND_KIND,
        command.changed | command.flushed << 1,
        nexus,
        command.lun & 0xFFFF,
        opcode,
        cdb[1],
        order,
        command.arrival_ns,
        at_ns,
        command.lba,
        blocks if blocks <= BLOCKS_MAX else BLOCKS_MAX,  # noqa: FURB136
        status,
        found,
    )
