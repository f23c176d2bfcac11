"""PERSISTENT RESERVE IN and OUT as bytes (SPC-4 6.15, 6.16), and what their answers mean.

The reservation is "write exclusive, all registrants" (type 7): who is registered writes, and whoever goes, it stays as
long as anybody is registered. With type 5 it would end when its one holder unregisters, and the disk would stand open
to whoever was fenced. APTPL is set: it also survives a power failure of the disk.
"""

from __future__ import annotations

import struct

GOOD = 0x00
CHECK_CONDITION = 0x02
UNIT_ATTENTION = 0x6  # sense key, with CHECK CONDITION: the disk had something to tell first
RESERVATION_CONFLICT = 0x18
NO_ANSWER = -1  # the command did not reach the disk, or its answer did not come

RESERVE = 0x01
PREEMPT_AND_ABORT = 0x05
REGISTER_AND_IGNORE_EXISTING_KEY = 0x06
READ_KEYS = 0x00

_WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7
_APTPL = 1
_OUT = struct.Struct(">BBB2xIx")
_IN = struct.Struct(">BB5xHx")
_PARAMETERS = struct.Struct(">QQ4xB3x")
_KEYS_HEADER = struct.Struct(">II")
KEYS_SIZE_MAX = _KEYS_HEADER.size + 8 * 255  # of an answer to READ KEYS


def out(action: int, key: int, action_key: int = 0) -> tuple[bytes, bytes]:
    """CDB and parameter list of a service action; key: the sender's own, action_key: the one that it is about."""
    kind = 0 if action == REGISTER_AND_IGNORE_EXISTING_KEY else _WRITE_EXCLUSIVE_ALL_REGISTRANTS
    aptpl = _APTPL if action == REGISTER_AND_IGNORE_EXISTING_KEY else 0
    return _OUT.pack(0x5F, action, kind, _PARAMETERS.size), _PARAMETERS.pack(key, action_key, aptpl)


def read_keys() -> bytes:
    """CDB of READ KEYS; the answer has at most KEYS_SIZE_MAX bytes."""
    return _IN.pack(0x5E, READ_KEYS, KEYS_SIZE_MAX)


def parse_keys(data: bytes) -> list[int] | None:
    """The keys, in the order of the disk; None for an answer that is cut off or no such answer."""
    if len(data) < _KEYS_HEADER.size:
        return None
    size = _KEYS_HEADER.unpack_from(data)[1]
    body = data[_KEYS_HEADER.size : _KEYS_HEADER.size + size]
    if size % 8 or len(body) != size:
        return None
    return list(struct.unpack(f">{size // 8}Q", body))
