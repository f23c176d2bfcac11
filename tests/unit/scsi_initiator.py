"""An initiator without a socket, for tests of the SCSI target: PDUs go into a session and come straight out."""

from __future__ import annotations

import struct
from pathlib import Path

from hil.scsi.command import Command, Nexus, Outcome
from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.login import Login
from hil.scsi.iscsi.pending import WINDOW
from hil.scsi.iscsi.session import Session
from hil.scsi.ledger import Ledger
from hil.scsi.medium import Medium
from hil.scsi.sense import Sense, Status
from hil.scsi.target import Portal, Target

SERIAL = "00112233445566aa"
PORTAL = Portal("127.0.0.1", 3260, None)
SIZE_BYTES = 4 * 1024 * 1024
BLOCKS = SIZE_BYTES // 512


def make_target(directory: Path, *, ledger: bool = False) -> Target:
    """One LUN of 4 MiB."""
    target = Target(ledger=Ledger(directory / "ledger.bin") if ledger else None)
    target.add_unit(0, Medium(str(directory / "disk.raw"), SIZE_BYTES), SERIAL)
    return target


def execute(target: Target, cdb: bytes, data: bytes = b"", *, lun: int = 0, nexus: Nexus | None = None) -> Outcome:
    """One command, from a nexus that has no unit attention unless one is given."""
    outcome = target.execute(Command(nexus or Nexus(0, "iqn.test:a", "p"), lun, cdb.ljust(16, b"\0"), data, 0))
    assert outcome is not None, "held by a fault"
    return outcome


def good(outcome: Outcome) -> bytes:
    """What came back of a command that ended well."""
    assert outcome.status == Status.GOOD, outcome
    return bytes(outcome.data)


def refusal(outcome: Outcome) -> Sense:
    """Why it did not, told in fixed format."""
    assert outcome.status == Status.CHECK_CONDITION, outcome
    assert len(outcome.sense) == 18
    assert outcome.sense[0] & 0x7F == 0x70
    return Sense(outcome.sense[2], outcome.sense[12], outcome.sense[13])


def information(outcome: Outcome) -> int:
    """The field of that name in the sense data, which has to be there."""
    assert outcome.sense[0] & 0x80
    return int.from_bytes(outcome.sense[3:7], "big")


def field_pointer(outcome: Outcome) -> tuple[int, int]:
    """Byte and bit of the CDB that the sense data points at (SPC-4 4.5.2.4.2)."""
    assert outcome.sense[15] & 0xC8 == 0xC8
    return outcome.sense[17], outcome.sense[15] & 7


def cdb(code: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    """A READ, WRITE or alike, of the length that the operation code has."""
    group = code >> 5
    if group == 0:
        return bytes((code,)) + lba.to_bytes(3, "big") + bytes((blocks, 0))
    if group in (1, 2):
        return struct.pack(">BBIxHx", code, flags, lba, blocks)
    if group == 4:
        return struct.pack(">BBQIxx", code, flags, lba, blocks)
    return struct.pack(">BBIIxx", code, flags, lba, blocks)


def read_10(lba: int, blocks: int, flags: int = 0) -> bytes:
    return struct.pack(">BBIxH", 0x28, flags, lba, blocks).ljust(16, b"\0")


def write_10(lba: int, blocks: int, flags: int = 0) -> bytes:
    return struct.pack(">BBIxH", 0x2A, flags, lba, blocks).ljust(16, b"\0")


class Initiator:
    """``send`` gives back what the session answers, headers parsed."""

    def __init__(
        self,
        target: Target,
        name: str = "iqn.test:a",
        *,
        attentions: bool = False,
        session_of: int | None = None,
        **keys: str,
    ) -> None:
        """``session_of``: the LUN under whose name it has logged in."""
        self.target = target
        self.nexus = target.nexus(name, PORTAL)
        if not attentions:
            self.nexus.attentions.clear()
        login = Login(self, 1, WINDOW, 1)
        login.parameters.values.update({"MaxRecvDataSegmentLength": "262144", "InitialR2T": "No", **keys})
        login.exp_cmd_sn = 1
        self.dropped: list[str] = []
        self.session = Session(target, self.nexus, login, PORTAL.host, self.dropped.append, lambda: None)
        target.attach(self.nexus, self.session, session_of)
        self.cmd_sn = 1
        self.itt = 0

    def admit(self, initiator: str, target: str | None) -> None:
        """Everybody may."""

    def send(self, request: p.Pdu, data: bytes = b"") -> list[tuple[p.Pdu, bytes]]:
        raw = bytearray(p.build(request, data))
        self.session.receive(raw, 0, memoryview(raw)[48 : 48 + len(data)] if data else b"")
        return self.answers()

    def answers(self) -> list[tuple[p.Pdu, bytes]]:
        """What is to be sent by now, and forgets it."""
        stream = b"".join(self.session.out)
        self.session.out = []
        found = []
        while stream:
            header = p.parse(stream)
            assert header is not None
            length = header.lengths & 0xFFFFFF
            found.append((header, stream[48 : 48 + length]))
            stream = stream[48 + (length + 3 & ~3) :]
        return found

    def command(
        self, cdb: bytes, data: bytes = b"", *, edtl: int = 0, flags: int = p.FINAL, cmd_sn: int | None = None
    ) -> list[tuple[p.Pdu, bytes]]:
        """A SCSI command; the task tag is ``self.itt`` afterwards."""
        self.itt += 1
        number = self.cmd_sn if cmd_sn is None else cmd_sn
        if cmd_sn is None:
            self.cmd_sn += 1
        request = p.ScsiCommand(p.Op.SCSI_COMMAND, flags, 0, 0, self.itt, edtl, number, 0, cdb.ljust(16, b"\0"))
        return self.send(request, data)

    def data_out(
        self, offset: int, data: bytes, *, data_sn: int = 0, ttt: int = p.NO_TAG, final: bool = True
    ) -> list[tuple[p.Pdu, bytes]]:
        """Data of the last command."""
        flags = p.FINAL if final else 0
        return self.send(p.DataOut(p.Op.DATA_OUT, flags, 0, 0, self.itt, ttt, 0, data_sn, offset), data)

    def manage(self, function: int, referenced_itt: int = p.NO_TAG, lun: int = 0) -> int:
        """An immediate task management request; the response code."""
        request = p.TaskManagementRequest(
            p.Op.TASK_MANAGEMENT_REQUEST | p.IMMEDIATE, p.FINAL | function, 0, lun, 999, referenced_itt, 1, 0, 0, 0
        )
        [(answer, _)] = self.send(request)
        assert isinstance(answer, p.TaskManagementResponse)
        return answer.response
