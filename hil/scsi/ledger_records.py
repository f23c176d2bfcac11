"""The records of the ledger: what they say, and how they are laid out.

A file is a header, then records of 64 bytes, little endian. Three kinds: a command; the name of a nexus, which comes
before its first command and may span several records; the end of a registration, which comes right before the command
that ended it.
"""

from __future__ import annotations

import struct
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from hil.errors import HilError
from hil.scsi.operations import NAMES, WRITES
from hil.scsi.sense import Sense, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hil.scsi.command import Command, Outcome

MAGIC: Final = b"HILLEDGR"
VERSION: Final = 1
RECORD_BYTES: Final = 64
DIGEST_BYTES: Final = 16
HEADER: Final = struct.Struct("<8sHH4xQQ32x")  # magic, version, record size, monotonic and real time of creation (ns)
# kind, flags, nexus, LUN, operation code, service action; order, arrival, completion, LBA; blocks; status, sense;
# digest
_COMMAND: Final = struct.Struct("<BBHHBBQQQQIBBBB16s")
_NEXUS: Final = struct.Struct("<BBHHxx")  # kind, count of records, nexus, bytes of text; then initiator, NUL, portal
_ENDED: Final = struct.Struct("<BxHHHQQQ32x")  # kind, nexus, LUN, nexus that did it, order, time, key
_KIND_COMMAND: Final = 1
_KIND_NEXUS: Final = 2
_KIND_ENDED: Final = 3
_CHANGED: Final = 0x01
_FAULT: Final = 0x02
_NO_DIGEST: Final = bytes(DIGEST_BYTES)
_RECORDS_PER_READ: Final = 1024


class NexusName(NamedTuple):
    """Who sent a command; ``number`` counts from 0 in the order of the target's ``--portal`` options."""

    number: int
    initiator: str
    portal: str


class Entry(NamedTuple):
    """One command. Times are the host's monotonic clock in ns, ``lba`` and ``blocks`` are in blocks of 512 bytes.

    ``order`` ascends by one from 0 in the order in which commands took effect. ``digest`` is blake2b (16 bytes) of
    what a write sent, as far as it was to be written; zeros for all else. ``changed``: data of this command reached
    the medium. ``service_action``: byte 1 of the CDB. A status of TASK ABORTED marks a command that never got an
    answer. ``fault``: an injected fault struck it.

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
    fault: bool = False

    @property
    def name(self) -> str:
        """The operation's name, ``opcode xxh`` when the target knows none."""
        return NAMES.get(self.opcode, f"opcode {self.opcode:02x}h")

    @property
    def writes(self) -> bool:
        """Whether the command was to change the medium, successful or not."""
        return self.opcode in WRITES

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


Record = NexusName | Entry | RegistrationEnded


class NotALedger(HilError):
    """The file has no header of a ledger, or one of another version."""


def header() -> bytes:
    """Of a file that begins now."""
    return HEADER.pack(MAGIC, VERSION, RECORD_BYTES, time.monotonic_ns(), time.time_ns())


def pack_nexus(name: NexusName) -> bytes:
    """One or more records."""
    text = f"{name.initiator}\0{name.portal}".encode(errors="replace")
    records = -(-(_NEXUS.size + len(text)) // RECORD_BYTES)
    return (_NEXUS.pack(_KIND_NEXUS, records, name.number, len(text)) + text).ljust(records * RECORD_BYTES, b"\0")


def pack_ended(order: int, nexus: int, lun: int, key: int, by: int) -> bytes:
    """The end of a registration now, by the command that will have number ``order``."""
    return _ENDED.pack(_KIND_ENDED, nexus, lun, by, order, time.monotonic_ns(), key)


def pack_command(order: int, nexus: int, command: Command, outcome: Outcome) -> bytes:
    """A command that finished now."""
    cdb, sense, digest = command.cdb, outcome.sense, command.digest
    opcode = cdb[0]
    if not digest:
        digest = blake2b(command.data, digest_size=DIGEST_BYTES).digest() if opcode in WRITES else _NO_DIGEST
    key, asc, ascq = (sense[2], sense[12], sense[13]) if sense else (0, 0, 0)
    flags = _CHANGED if command.changed else 0
    return _COMMAND.pack(
        _KIND_COMMAND,
        flags if command.fault is None else flags | _FAULT,
        nexus,
        command.lun & 0xFFFF,
        opcode,
        cdb[1],
        order,
        command.arrival_ns,
        time.monotonic_ns(),
        command.lba,
        command.blocks,
        outcome.status,
        key,
        asc,
        ascq,
        digest,
    )


def read_records(file: BinaryIO, path: str) -> Iterator[tuple[int, Record]]:
    """Each whole record with the offset of its end. Raises ``NotALedger``."""
    found = file.read(HEADER.size)
    if len(found) < HEADER.size or not found.startswith(MAGIC):
        raise NotALedger(f"{path} is not a ledger: it does not begin with {MAGIC.decode()}")
    _, version, size, _, _ = HEADER.unpack(found)
    if (version, size) != (VERSION, RECORD_BYTES):
        raise NotALedger(f"{path} is a ledger of version {version} with records of {size} bytes, not {VERSION}")
    nexuses: dict[int, NexusName] = {}
    data, start, end = b"", 0, HEADER.size
    while more := file.read(_RECORDS_PER_READ * RECORD_BYTES):
        data, start = data[start:] + more, 0
        while (length := _length(data, start, path)) and start + length <= len(data):
            record = _UNPACK[data[start]](data, start, nexuses)
            start += length
            end += length
            yield end, record


def _length(data: bytes, start: int, path: str) -> int:
    """Bytes of the record at ``start``; 0 when not even its first 64 are there."""
    if len(data) - start < RECORD_BYTES:
        return 0
    kind = data[start]
    if kind not in _UNPACK:
        legal = ", ".join(map(str, sorted(_UNPACK)))
        raise NotALedger(f"{path} holds a record of kind {kind}: kinds {legal} are legal")
    return RECORD_BYTES * (data[start + 1] if kind == _KIND_NEXUS else 1)


def _unpack_nexus(data: bytes, start: int, nexuses: dict[int, NexusName]) -> NexusName:
    _, _, index, length = _NEXUS.unpack_from(data, start)
    text = data[start + _NEXUS.size : start + _NEXUS.size + length].decode(errors="replace")
    initiator, _, portal = text.partition("\0")
    name = nexuses[index] = NexusName(index, initiator, portal)
    return name


def _unpack_ended(data: bytes, start: int, nexuses: dict[int, NexusName]) -> RegistrationEnded:
    _, index, lun, by, order, time_ns, key = _ENDED.unpack_from(data, start)
    return RegistrationEnded(order, time_ns, _name(nexuses, index), lun, key, _name(nexuses, by))


def _unpack_command(data: bytes, start: int, nexuses: dict[int, NexusName]) -> Entry:
    record = _COMMAND.unpack_from(data, start)
    _, flags, index, lun, opcode, action, order, arrival, completion, lba, blocks, status, key, asc, ascq, digest = (
        record
    )
    return Entry(
        order, arrival, completion, _name(nexuses, index), lun, opcode, action, lba, blocks, digest, status,
        Sense(key, asc, ascq), bool(flags & _CHANGED), bool(flags & _FAULT),
    )  # fmt: skip


def _name(nexuses: dict[int, NexusName], index: int) -> NexusName:
    return nexuses.get(index) or NexusName(index, "?", "?")


_UNPACK: Final[dict[int, Callable[[bytes, int, dict[int, NexusName]], Record]]] = {
    _KIND_COMMAND: _unpack_command,
    _KIND_NEXUS: _unpack_nexus,
    _KIND_ENDED: _unpack_ended,
}
