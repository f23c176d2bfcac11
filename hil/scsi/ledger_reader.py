"""Reads a ledger: records from bytes, and what belongs to a command put together with it.

A reader may look while the writer goes on, and takes a last record that is cut short as not there yet; so a command is
there when all is that belongs to it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from hil.scsi.ledger_records import (
    BY_POWER_LOSS,
    CHANGED,
    COMMAND,
    ENDED,
    FLUSHED,
    FOUND,
    HEADER,
    HEALED,
    INJECTED,
    MAGIC,
    NEXUS,
    PLACED,
    POWER_LOST,
    RECORD_BYTES,
    STRUCK,
    UNMAPPED,
    VERSION,
    WHY,
    Entry,
    FaultHealed,
    FaultInjected,
    Found,
    Kind,
    NexusName,
    NotALedger,
    Placed,
    PowerLost,
    Record,
    RegistrationEnded,
    Reverted,
)
from hil.scsi.sense import Sense

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

_RECORDS_PER_READ: Final = 1024
_SPANNING: Final = frozenset({Kind.NEXUS, Kind.FAULT_INJECTED})  # their second byte is the number of records


def read_all(path: str | PathLike[str], size: int | None = None) -> Iterator[Record]:
    """All that is in the file, or in its first ``size`` bytes, in its order; what is written meanwhile may be, too.

    Raises ``NotALedger``, and ``OSError`` without a file.
    """
    with Path(path).open("rb") as file:
        for end, found in read_records(file, os.fspath(path)):
            if size is not None and end > size:
                return
            yield found


def read_ledger(path: str | PathLike[str]) -> Iterator[Entry]:
    """All commands that are in the file now, in their order. Raises as ``read_all``."""
    return (found for found in read_all(path) if isinstance(found, Entry))


def read_nexuses(path: str | PathLike[str]) -> list[NexusName]:
    """Every nexus named in the file, by number."""
    return [found for found in read_all(path) if isinstance(found, NexusName)]


def read_records(file: BinaryIO, path: str) -> Iterator[tuple[int, Record]]:
    """Each record with the offset of its end. Raises ``NotALedger``."""
    yield from Follower(file, path).more()


class Follower:
    """Reads a ledger while it is written."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        """``file``: at its beginning. Raises ``NotALedger``."""
        check_header(file.read(HEADER.size), path)
        self._file = file
        self._path = path
        self._reader = _Reader()
        self._rest = b""
        self._end = HEADER.size

    def more(self) -> Iterator[tuple[int, Record]]:
        """What is there beyond what was read before: each record with the offset of its end. Raises ``NotALedger``.

        To be read to its end: who stops earlier has lost the rest.
        """
        while more := self._file.read(_RECORDS_PER_READ * RECORD_BYTES):
            data, start = self._rest + more, 0
            while (length := _length(data, start, self._path)) and start + length <= len(data):
                record = self._reader.take(data, start)
                start += length
                self._end += length
                if record is not None:
                    yield self._end, record
            self._rest = data[start:]


def check_header(found: bytes, path: str) -> None:
    """Raises ``NotALedger``."""
    if len(found) < HEADER.size or not found.startswith(MAGIC):
        raise NotALedger(f"{path} is not a ledger: it does not begin with {MAGIC.decode()}")
    _, version, size, _, _ = HEADER.unpack(found)
    if (version, size) != (VERSION, RECORD_BYTES):
        raise NotALedger(f"{path} is a ledger of version {version} with records of {size} bytes, not {VERSION}")


def _length(data: bytes, start: int, path: str) -> int:
    """Bytes of the record at ``start``; 0 when not even its first 64 are there."""
    if len(data) - start < RECORD_BYTES:
        return 0
    kind = data[start]
    if kind not in _TAKE:
        legal = ", ".join(map(str, sorted(_TAKE)))
        raise NotALedger(f"{path} holds a record of kind {kind}: kinds {legal} are legal")
    return RECORD_BYTES * (data[start + 1] if kind in _SPANNING else 1)


class _Reader:
    """``struck`` and ``placed`` wait for their command."""

    def __init__(self) -> None:
        self.nexuses: dict[int, NexusName] = {}
        self.struck: list[int] = []
        self.placed: list[Placed] = []

    def take(self, data: bytes, start: int) -> Record | None:
        """The record at ``start``, None for one that belongs to a command that is yet to come."""
        return _TAKE[data[start]](self, data, start)

    def name(self, index: int) -> NexusName:
        return self.nexuses.get(index) or NexusName(index, "?", "?")


def _nexus(reader: _Reader, data: bytes, start: int) -> NexusName:
    _, _, index, length = NEXUS.unpack_from(data, start)
    text = data[start + NEXUS.size : start + NEXUS.size + length].decode(errors="replace")
    initiator, _, portal = text.partition("\0")
    name = reader.nexuses[index] = NexusName(index, initiator, portal)
    return name


def _ended(reader: _Reader, data: bytes, start: int) -> RegistrationEnded:
    _, index, lun, by, order, time_ns, key = ENDED.unpack_from(data, start)
    return RegistrationEnded(order, time_ns, reader.name(index), lun, key, reader.name(by))


def _struck(reader: _Reader, data: bytes, start: int) -> None:
    _, count, _, *numbers = STRUCK.unpack_from(data, start)
    reader.struck += numbers[:count]


def _placed(reader: _Reader, data: bytes, start: int) -> Reverted | Found | None:
    _, flags, lun, order, lba, length, digest = PLACED.unpack_from(data, start)
    piece = Placed(lun, lba, length, digest, bool(flags & UNMAPPED))
    if flags & BY_POWER_LOSS:
        return Reverted(order, piece)
    if flags & FOUND:
        return Found(order, piece)
    reader.placed.append(piece)
    return None


def _injected(reader: _Reader, data: bytes, start: int) -> FaultInjected:
    _, _, length, number, order, time_ns = INJECTED.unpack_from(data, start)
    text = data[start + INJECTED.size : start + INJECTED.size + length]
    about: dict[str, Any] = json.loads(text)
    return FaultInjected(order, time_ns, number, about)


def _healed(reader: _Reader, data: bytes, start: int) -> FaultHealed:
    _, why, number, order, time_ns, struck = HEALED.unpack_from(data, start)
    return FaultHealed(order, time_ns, number, struck, WHY[why])


def _power_lost(reader: _Reader, data: bytes, start: int) -> PowerLost:
    _, index, lun, order, time_ns = POWER_LOST.unpack_from(data, start)
    return PowerLost(order, time_ns, reader.name(index), lun)


def _command(reader: _Reader, data: bytes, start: int) -> Entry:
    record = COMMAND.unpack_from(data, start)
    _, flags, index, lun, opcode, action, order, arrival, completion, lba, blocks, ending, digest = record
    status, sense = ending & 0xFF, Sense(ending >> 8 & 0xFF, ending >> 16 & 0xFF, ending >> 24)
    struck: tuple[int, ...] = ()
    placed: tuple[Placed, ...] | None = None
    if reader.struck:
        struck, placed = tuple(reader.struck), tuple(reader.placed)
        reader.struck, reader.placed = [], []
    return Entry(
        order, arrival, completion, reader.name(index), lun, opcode, action, lba, blocks, digest, status,
        sense, bool(flags & CHANGED), struck, placed, bool(flags & FLUSHED),
    )  # fmt: skip


_TAKE: Final[dict[int, Callable[[_Reader, bytes, int], Record | None]]] = {
    Kind.COMMAND: _command,
    Kind.NEXUS: _nexus,
    Kind.REGISTRATION_ENDED: _ended,
    Kind.STRUCK: _struck,
    Kind.PLACED: _placed,
    Kind.FAULT_INJECTED: _injected,
    Kind.FAULT_HEALED: _healed,
    Kind.POWER_LOST: _power_lost,
}
