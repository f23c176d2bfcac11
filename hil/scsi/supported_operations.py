"""REPORT SUPPORTED OPERATION CODES (SPC-4 6.35), generated from the table of operations."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from hil.scsi.command import Command, Outcome
from hil.scsi.sense import Status, invalid_field

if TYPE_CHECKING:
    from hil.scsi.operation import Operation

_ALL: Final = 0
_WITHOUT_SERVICE_ACTION: Final = 1
_WITH_SERVICE_ACTION: Final = 2
_EITHER: Final = 3
_NOT_SUPPORTED: Final = b"\0\1\0\0"
_SUPPORTED: Final = 0x03  # in conformance with a standard
# Command timeouts descriptor: 10 bytes follow; no nominal and no recommended time is indicated.
_TIMEOUTS: Final = struct.pack(">HBBII", 10, 0, 0, 0, 0)


class _Row(NamedTuple):
    action: int | None
    usage: bytes


def report_supported_operations(operations: Mapping[int, Operation], command: Command) -> Outcome:
    """All of them, or one with its CDB usage data; byte 2 of the CDB says which, and whether timeouts are told."""
    cdb = command.cdb
    timeouts, option = cdb[2] & 0x80, cdb[2] & 0x07
    if option > _EITHER:
        raise invalid_field(2, 2)
    data = _all(operations, timeouts) if option == _ALL else _one(operations, cdb, option, timeouts)
    return Outcome(Status.GOOD, data[: int.from_bytes(cdb[6:10], "big")])


def _rows(operation: Operation) -> Iterator[_Row]:
    if operation.actions is None:
        yield _Row(None, bytes.fromhex(operation.usage))
    else:
        for code, action in sorted(operation.actions.items()):
            yield _Row(code, bytes.fromhex(action.usage))


def _all(operations: Mapping[int, Operation], timeouts: int) -> bytes:
    """SPC-4 6.35.2: operation code, service action, CTDP and SERVACTV, length of the CDB."""
    found = b""
    for code, operation in sorted(operations.items()):
        for row in _rows(operation):
            flags = (0x02 if timeouts else 0) | (row.action is not None)
            found += struct.pack(">BxHxBH", code, row.action or 0, flags, len(row.usage))
            found += _TIMEOUTS if timeouts else b""
    return struct.pack(">I", len(found)) + found


def _one(operations: Mapping[int, Operation], cdb: bytes, option: int, timeouts: int) -> bytes:
    """SPC-4 6.35.3. Asking for a service action where there are none, or the other way round, is an error."""
    code, wanted = cdb[3], int.from_bytes(cdb[4:6], "big")
    operation = operations.get(code)
    if operation is None:
        return _NOT_SUPPORTED
    acts = operation.actions is not None
    if option == (_WITHOUT_SERVICE_ACTION if acts else _WITH_SERVICE_ACTION):
        raise invalid_field(2, 2)
    for row in _rows(operation):
        if row.action == wanted or (not acts and (option == _WITHOUT_SERVICE_ACTION or not wanted)):
            head = struct.pack(">BBH", 0, (0x80 if timeouts else 0) | _SUPPORTED, len(row.usage))
            return head + row.usage + (_TIMEOUTS if timeouts else b"")
    return _NOT_SUPPORTED
