"""One session of an iSCSI initiator without a socket (RFC 7143): several commands under way, bytes in, answers out."""

from __future__ import annotations

from typing import Final, NamedTuple

from hil.scsi.digest import digest
from hil.scsi.iscsi import pdu as p
from hil.scsi.sense import Sense

FIRST_BURST_BYTES: Final = 64 * 1024
_RECEIVED_BYTES_MAX: Final = 256 * 1024
_TEXT: Final = (
    "InitiatorName={}\0TargetName=iqn.2026-11.hil:shared\0InitialR2T=No\0ImmediateData=Yes\0"
    "MaxRecvDataSegmentLength={}\0FirstBurstLength={}\0"
)
LOGGED_IN: Final = -1
"""The tag of the answer to a login."""


class Answer(NamedTuple):
    """``tag`` as given with the command; ``sense`` when there is any; ``data`` of a read.

    Of a task management request ``status`` is the response (RFC 7143 11.6.1).
    """

    tag: int
    status: int
    sense: Sense | None
    data: bytes


class Session:
    """``out`` are bytes to be sent; the caller empties it."""

    def __init__(self, name: str) -> None:
        self.out = bytearray()
        self._received = bytearray()
        self._cmd_sn = 1
        self._max_cmd_sn = 0
        self._unsent: dict[int, bytes] = {}  # data of writes, for R2Ts
        self._data_in: dict[int, bytearray] = {}
        text = _TEXT.format(name, _RECEIVED_BYTES_MAX, FIRST_BURST_BYTES).encode()
        request = p.LoginRequest(0x43, p.FINAL | 1 << 2 | 3, 0, 0, 0, b"\x80\0\0\0\0\1", 0, 0, 0, 1, 0)
        self.out += p.build(request, text)

    @property
    def window(self) -> int:
        """How many commands may be sent now."""
        return (self._max_cmd_sn + 1 - self._cmd_sn) & 0xFFFFFFFF

    def command(self, tag: int, cdb: bytes, data: bytes, read_bytes: int) -> None:
        """Immediate data up to the first burst, the rest when it is asked for."""
        flags = p.FINAL | (p.WRITE if data else 0) | (p.READ if read_bytes else 0)
        request = p.ScsiCommand(
            p.Op.SCSI_COMMAND, flags, 0, 0, tag, len(data) or read_bytes, self._cmd_sn, 0, cdb.ljust(16, b"\0")
        )
        self._cmd_sn = (self._cmd_sn + 1) & 0xFFFFFFFF
        self.out += p.build(request, data[:FIRST_BURST_BYTES])
        if len(data) > FIRST_BURST_BYTES:
            self._unsent[tag] = data

    def abort(self, tag: int, referenced: int) -> None:
        """ABORT TASK."""
        request = p.TaskManagementRequest(
            p.Op.TASK_MANAGEMENT_REQUEST | p.IMMEDIATE, p.FINAL | 1, 0, 0, tag, referenced, self._cmd_sn, 0, 0, 0
        )
        self.out += p.build(request)

    def receive(self, data: bytes) -> list[Answer]:
        """Takes what came; answers in the order in which they came."""
        received = self._received
        received += data
        answers: list[Answer] = []
        start = 0
        while len(received) - start >= p.HEADER_BYTES:
            length = int.from_bytes(received[start + 5 : start + 8], "big")
            end = start + p.HEADER_BYTES + (length + 3 & ~3)
            if end > len(received):
                break
            header = p.parse(received, start)
            first = start + p.HEADER_BYTES
            answer = self._take(header, bytes(received[first : first + length]))
            if answer is not None:
                answers.append(answer)
            start = end
        del received[:start]
        return answers

    def _take(self, header: p.Pdu | None, data: bytes) -> Answer | None:
        match header:
            case p.DataIn():
                return self._data(header, data)
            case p.ScsiResponse():
                self._max_cmd_sn = header.max_cmd_sn
                self._forget(header.itt)
                sense = Sense(data[4], data[14], data[15]) if data else None
                return Answer(header.itt, header.status, sense, b"")
            case p.R2T():
                self._max_cmd_sn = header.max_cmd_sn
                self._data_out(header)
                return None
            case p.TaskManagementResponse():
                return Answer(header.itt, header.response, None, b"")
            case p.LoginResponse():
                self._max_cmd_sn = header.max_cmd_sn
                return Answer(LOGGED_IN, header.status, None, b"")
        raise AssertionError(f"not an answer: {header}")

    def _data(self, header: p.DataIn, data: bytes) -> Answer | None:
        self._max_cmd_sn = header.max_cmd_sn
        if header.flags & p.HAS_STATUS and not header.offset:
            return Answer(header.itt, header.status, None, data)
        before = self._data_in.setdefault(header.itt, bytearray())
        assert header.offset == len(before), f"Data-In out of order: {header}"
        before += data
        if not header.flags & p.HAS_STATUS:
            return None
        return Answer(header.itt, header.status, None, bytes(self._data_in.pop(header.itt)))

    def _data_out(self, header: p.R2T) -> None:
        data = self._unsent.get(header.itt)
        if data is None:
            return  # aborted meanwhile
        request = p.DataOut(
            p.Op.DATA_OUT, p.FINAL, 0, header.lun, header.itt, header.ttt, 0, 0, header.offset
        )  # fmt: skip
        self.out += p.build(request, data[header.offset : header.offset + header.desired])

    def _forget(self, tag: int) -> None:
        self._unsent.pop(tag, None)
        self._data_in.pop(tag, None)


def answer_digest(answer: Answer) -> bytes:
    """As the ledger has it of a read."""
    return digest(answer.data) if answer.data else bytes(16)
