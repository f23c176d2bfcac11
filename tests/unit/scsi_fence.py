"""A master and a victim at one target, with sessions but without sockets, for tests of the fence."""

from __future__ import annotations

from hil.scsi.faults.selection import Selection
from hil.scsi.iscsi import pdu as p
from hil.scsi.ledger import Entry, Record, read_all, read_ledger
from hil.scsi.target import Target
from tests.unit.scsi_initiator import Initiator, write_10
from tests.unit.scsi_reserve import (
    GOOD,
    REGISTER_AND_IGNORE,
    RESERVE,
    WERO,
    out_cdb,
    out_data,
)

F, W, R = p.FINAL, p.WRITE, p.READ
OLD, NEW = bytes(512), b"n" * 512
VICTIM = Selection(initiator="iqn.test:victim")


def out(node: Initiator, action: int, key: int = 0, action_key: int = 0, kind: int = 0) -> int:
    [(answer, _)] = node.command(out_cdb(action, kind), out_data(key, action_key), edtl=24, flags=F | W)
    assert isinstance(answer, p.ScsiResponse)
    return answer.status


def pair(target: Target) -> tuple[Initiator, Initiator]:
    """A master that holds a reservation for registrants only, and a victim that is one."""
    master, victim = Initiator(target, "iqn.test:master"), Initiator(target, "iqn.test:victim")
    assert out(master, REGISTER_AND_IGNORE, 0, 0x10) == out(victim, REGISTER_AND_IGNORE, 0, 0x11) == GOOD
    assert out(master, RESERVE, 0x10, kind=WERO) == GOOD
    return master, victim


def write(node: Initiator, lba: int = 0, data: bytes = NEW) -> list[tuple[p.Pdu, bytes]]:
    return node.command(write_10(lba, 1), data, edtl=512, flags=F | W)


def disk(target: Target, lba: int = 0) -> bytes:
    return target.units[0].medium.read(lba, 1)


def entries(target: Target) -> list[Entry]:
    assert target.ledger is not None
    target.ledger.flush()
    return list(read_ledger(target.ledger.path))


def records(target: Target) -> list[Record]:
    assert target.ledger is not None
    target.ledger.flush()
    return list(read_all(target.ledger.path))


def status(answers: list[tuple[p.Pdu, bytes]]) -> int:
    [(answer, _)] = answers
    assert isinstance(answer, p.ScsiResponse)
    return answer.status
