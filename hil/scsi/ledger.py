"""The ledger: one record per command that reached the target, in the one order in which they took effect.

File: a header, then records of 64 bytes, little endian, only ever appended. Two kinds of record: a command, and the
name of a nexus, which comes before its first command and may span several records. A restarted target goes on in the
same file.

What survives: the writer hands everything to the kernel *before* the answers that it is about are sent (``flush``
runs before each batch of answers), so after a SIGKILL of the target every answered command is in the file; a command
that was executed but not answered may be missing. A power failure of the host loses what its page cache had not
written yet.

A reader may look while the writer goes on, and takes a last record that is cut short as not there yet.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from hil.errors import HilError, UsageError
from hil.scsi.operations import NAMES, WRITES
from hil.scsi.sense import Sense, Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from hil.scsi.command import Command, Nexus, Outcome

MAGIC: Final = b"HILLEDGR"
VERSION: Final = 1
RECORD_BYTES: Final = 64
DIGEST_BYTES: Final = 16
_HEADER: Final = struct.Struct("<8sHH4xQQ32x")  # magic, version, record size, monotonic and real time of creation (ns)
# kind, flags, nexus, LUN, operation code, service action; order, arrival, completion, LBA; blocks; status, sense;
# digest
_COMMAND: Final = struct.Struct("<BBHHBBQQQQIBBBB16s")
_NEXUS: Final = struct.Struct("<BBHHxx")  # kind, count of records, nexus, bytes of text; then initiator, NUL, portal
_KIND_COMMAND: Final = 1
_KIND_NEXUS: Final = 2
_CHANGED: Final = 0x01
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
    answer.
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

    @property
    def name(self) -> str:
        """The operation's name, ``opcode xxh`` when the target knows none."""
        return NAMES.get(self.opcode, f"opcode {self.opcode:02x}h")

    @property
    def writes(self) -> bool:
        """Whether the command was to change the medium, successful or not."""
        return self.opcode in WRITES


class NotALedger(HilError):
    """The file has no header of a ledger, or one of another version."""


class LedgerLost(HilError):
    """The ledger cannot be written any more; the target must not go on without."""


class Ledger:
    """The writer. Raises ``UsageError`` when ``path`` cannot be opened, is in use, or is something else."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._fd = _open(self.path)
        self._waiting: list[bytes] = []
        self.nexuses: list[NexusName] = []
        self.order_next = 0
        try:
            self._continue()
        except BaseException:
            os.close(self._fd)
            raise

    def _continue(self) -> None:
        """After what the file holds already; a record cut short by the end of an earlier target is dropped."""
        size = os.fstat(self._fd).st_size
        if size < _HEADER.size and MAGIC.startswith(os.pread(self._fd, len(MAGIC), 0)):
            os.ftruncate(self._fd, 0)
            os.write(
                self._fd,
                _HEADER.pack(MAGIC, VERSION, RECORD_BYTES, time.monotonic_ns(), time.time_ns()),
            )
            return
        end = _HEADER.size
        try:
            with open(self.path, "rb") as file:
                for end, found in _records(file, self.path):  # noqa: B007
                    if isinstance(found, NexusName):
                        self.nexuses.append(found)
                    else:
                        self.order_next = found.order + 1
        except NotALedger as error:
            raise UsageError(str(error)) from None
        os.ftruncate(self._fd, end)

    def nexus(self, initiator: str, portal: str) -> int:
        """The number of this nexus, new at its first mention."""
        for name in self.nexuses:
            if (name.initiator, name.portal) == (initiator, portal):
                return name.number
        name = NexusName(len(self.nexuses), initiator, portal)
        text = f"{initiator}\0{portal}".encode(errors="replace")
        records = -(-(_NEXUS.size + len(text)) // RECORD_BYTES)
        head = _NEXUS.pack(_KIND_NEXUS, records, name.number, len(text))
        self._waiting.append((head + text).ljust(records * RECORD_BYTES, b"\0"))
        self.nexuses.append(name)
        return name.number

    def record(self, nexus: Nexus, command: Command, outcome: Outcome) -> None:
        """Takes ``command`` down as finished with ``outcome`` now; in the file after the next ``flush``."""
        cdb, sense = command.cdb, outcome.sense
        opcode = cdb[0]
        digest = blake2b(command.data, digest_size=DIGEST_BYTES).digest() if opcode in WRITES else _NO_DIGEST
        key, asc, ascq = (sense[2], sense[12], sense[13]) if sense else (0, 0, 0)
        self._waiting.append(
            _COMMAND.pack(
                _KIND_COMMAND,
                _CHANGED if command.changed else 0,
                nexus.index,
                command.lun & 0xFFFF,
                opcode,
                cdb[1],
                self.order_next,
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
        )
        self.order_next += 1

    def flush(self) -> None:
        """Hands all records to the kernel. Raises ``LedgerLost`` (disk full)."""
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        self._waiting.clear()
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as error:
            raise LedgerLost(f"ledger {self.path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Flushes and releases the lock."""
        if self._fd < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._fd)
            self._fd = -1


def _open(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"ledger {path} cannot be opened for writing: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UsageError(f"ledger {path} is in use by another target") from None
    return fd


def read_ledger(path: str | PathLike[str]) -> Iterator[Entry]:
    """All commands that are in the file now, in their order. Raises ``NotALedger``, and ``OSError`` without a file."""
    with Path(path).open("rb") as file:
        for _, found in _records(file, os.fspath(path)):
            if isinstance(found, Entry):
                yield found


def read_nexuses(path: str | PathLike[str]) -> list[NexusName]:
    """Every nexus named in the file, by number."""
    with Path(path).open("rb") as file:
        return [found for _, found in _records(file, os.fspath(path)) if isinstance(found, NexusName)]


def _records(file: BinaryIO, path: str) -> Iterator[tuple[int, NexusName | Entry]]:
    """Each whole record with the offset of its end."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(MAGIC):
        raise NotALedger(f"{path} is not a ledger: it does not begin with {MAGIC.decode()}")
    _, version, size, _, _ = _HEADER.unpack(header)
    if (version, size) != (VERSION, RECORD_BYTES):
        raise NotALedger(f"{path} is a ledger of version {version} with records of {size} bytes, not {VERSION}")
    nexuses: dict[int, NexusName] = {}
    data, start, end = b"", 0, _HEADER.size
    while more := file.read(_RECORDS_PER_READ * RECORD_BYTES):
        data, start = data[start:] + more, 0
        while (length := _length(data, start, path)) and start + length <= len(data):
            found = _decode(data, start, nexuses)
            start += length
            end += length
            yield end, found


def _length(data: bytes, start: int, path: str) -> int:
    """Bytes of the record at ``start``; 0 when not even its first 64 are there."""
    if len(data) - start < RECORD_BYTES:
        return 0
    kind = data[start]
    if kind not in (_KIND_COMMAND, _KIND_NEXUS):
        raise NotALedger(f"{path} holds a record of kind {kind}: kinds {_KIND_COMMAND} and {_KIND_NEXUS} are legal")
    return RECORD_BYTES * (data[start + 1] if kind == _KIND_NEXUS else 1)


def _decode(data: bytes, start: int, nexuses: dict[int, NexusName]) -> NexusName | Entry:
    if data[start] == _KIND_NEXUS:
        _, _, index, length = _NEXUS.unpack_from(data, start)
        text = data[start + _NEXUS.size : start + _NEXUS.size + length].decode(errors="replace")
        initiator, _, portal = text.partition("\0")
        name = nexuses[index] = NexusName(index, initiator, portal)
        return name
    record = _COMMAND.unpack_from(data, start)
    _, flags, index, lun, opcode, action, order, arrival, completion, lba, blocks, status, key, asc, ascq, digest = (
        record
    )
    nexus = nexuses.get(index) or NexusName(index, "?", "?")
    sense = Sense(key, asc, ascq)
    changed = bool(flags & _CHANGED)
    return Entry(order, arrival, completion, nexus, lun, opcode, action, lba, blocks, digest, status, sense, changed)


def status_name(status: int) -> str:
    """``GOOD``, ``CHECK CONDITION``…; the number for what SAM-5 does not name."""
    try:
        return Status(status).name.replace("_", " ")
    except ValueError:
        return f"{status:02x}h"
