"""Persistent reservations as an initiator asks for them, for tests of the SCSI target."""

from __future__ import annotations

import struct

from hil.scsi.command import Command, Nexus, Outcome
from hil.scsi.reservations import Type
from hil.scsi.sense import Sense, Status
from hil.scsi.target import Portal, Target

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE = range(7)
WERO = Type.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
GOOD, CONFLICT, CHECK = Status.GOOD, Status.RESERVATION_CONFLICT, Status.CHECK_CONDITION


def out_cdb(action: int, kind: int = 0, length: int = 24) -> bytes:
    return struct.pack(">BBBxxIx", 0x5F, action, kind, length).ljust(16, b"\0")


def out_data(key: int = 0, action_key: int = 0, flags: int = 0) -> bytes:
    return struct.pack(">QQ4xBxxx", key, action_key, flags)


def in_cdb(action: int, allocation: int = 8192) -> bytes:
    return struct.pack(">BB5xHx", 0x5E, action, allocation).ljust(16, b"\0")


class Node:
    """A nexus without a session; unit attentions are taken off first unless asked for."""

    def __init__(self, target: Target, name: str) -> None:
        self.target = target
        self.nexus: Nexus = target.nexus(f"iqn.test:{name}", Portal("127.0.0.1", 3260 + ord(name[-1]) % 16, None))
        self.nexus.attentions.clear()

    def execute(self, cdb: bytes, data: bytes = b"") -> Outcome:
        outcome = self.target.execute(Command(self.nexus, 0, cdb.ljust(16, b"\0"), data, 0))
        assert outcome is not None, "held by a fault"
        return outcome

    def out(self, action: int, key: int = 0, action_key: int = 0, kind: int = 0, flags: int = 0) -> int:
        """The status of a PERSISTENT RESERVE OUT."""
        return self.execute(out_cdb(action, kind), out_data(key, action_key, flags)).status

    def register(self, key: int, flags: int = 0) -> None:
        assert self.out(REGISTER_AND_IGNORE, 0, key, flags=flags) == GOOD

    def read(self, action: int) -> bytes:
        outcome = self.execute(in_cdb(action))
        assert outcome.status == GOOD
        return bytes(outcome.data)

    def attentions(self) -> list[Sense]:
        """All that this nexus has not been told yet, which it thereby is."""
        return self.nexus.attentions.pop(0, [])


def refusal(outcome: Outcome) -> Sense:
    assert outcome.status == CHECK
    return Sense(outcome.sense[2], outcome.sense[12], outcome.sense[13])


def keys(node: Node) -> list[int]:
    data = node.read(0)
    _, length = struct.unpack_from(">II", data)
    assert length == len(data) - 8
    return list(struct.unpack(f">{length // 8}Q", data[8:]))


def generation(node: Node) -> int:
    return int.from_bytes(node.read(0)[:4], "big")


def reservation(node: Node) -> tuple[int, int] | None:
    """Key of the holder and type."""
    data = node.read(1)
    if len(data) == 8:
        return None
    _, length, key, scope_and_type = struct.unpack(">IIQ5xBxx", data)
    assert length == 16
    return key, scope_and_type
