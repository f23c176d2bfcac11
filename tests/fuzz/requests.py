"""The PDUs that one initiator makes in full feature phase: what it may send, and with fields that make no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hil.scsi.command import Command
from hil.scsi.iscsi import pdu as p
from hil.scsi.operations import OPERATIONS
from hil.scsi.primary_operations import lun_field
from hil.scsi.sense import Refused
from tests.fuzz import commands, logins, parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.scsi.iscsi.session import Session
    from hil.scsi.target import Target
    from tests.fuzz.choices import Choices

    Kind = Callable[["Requests", Choices], bytes]

_WORD: Final = 0xFFFFFFFF
_TASK_TAGS: Final = 2**16  # tags are used again, but hardly while they are in use
_UNSOLICITED_BYTES_MAX: Final = 64 * 1024
_OUTGOING_MAX: Final = 256
_TEXTS: Final = (
    b"SendTargets=All\0",
    b"SendTargets=\0",
    b"SendTargets=iqn.2026-11.hil:shared\0",
    b"X=1\0Y=2\0",
    b"",
    b"SendTargets=iqn.test:other\0",
)


class Outgoing(NamedTuple):
    """Data that the target waits for: how much was sent of ``length`` bytes from ``offset`` on."""

    itt: int
    ttt: int
    offset: int
    length: int
    sent: int = 0
    data_sn: int = 0


class Requests:
    """Of one connection. ``cmd_sn`` is the number of the next command. ``session`` is the target's, None before it."""

    def __init__(self, target: Target, name: str, cmd_sn: int) -> None:
        self.cmd_sn = cmd_sn
        self.session: Session | None = None
        self._target = target
        self._name = name
        self._itt = 0
        self._tags: list[int] = []
        self._outgoing: list[Outgoing] = []

    def asked_for(self, r2ts: list[p.R2T]) -> None:
        """The target wants this data."""
        self._outgoing += [Outgoing(r2t.itt, r2t.ttt, r2t.offset, r2t.desired) for r2t in r2ts]
        del self._outgoing[:-_OUTGOING_MAX]

    # ---- SCSI commands and their data

    def scsi_command(self, choices: Choices) -> bytes:
        """Any operation, with any data."""
        return self._command(choices, choices.one_of((0, 0, 0, 0, 0, 1, 1, 300)), None)

    def reservation(self, choices: Choices) -> bytes:
        """PERSISTENT RESERVE OUT or IN at LUN 0."""
        return self._command(choices, 0, choices.one_of((0x5F, 0x5F, 0x5F, 0x5E)))

    def _command(self, choices: Choices, lun: int, operation_code: int | None) -> bytes:
        unit = self._target.units.get(lun) or self._target.units[0]
        drawn = commands.draw(choices, unit.blocks, operation_code)
        nexus = self.session.nexus if self.session else None
        parameter_list = parameters.draw(choices, unit, drawn.cdb, nexus.identity if nexus else None)
        cdb = bytes(drawn.cdb)
        wanted = self._wanted(lun, cdb)
        flags, edtl = (p.WRITE, wanted) if wanted else (p.READ if drawn.data_in_bytes else 0, drawn.data_in_bytes)
        if choices.percent(6):
            flags = choices.one_of((0, p.READ, p.WRITE, p.READ | p.WRITE))
        if choices.percent(8):
            edtl = choices.one_of((0, 1, 512, edtl + 1, max(edtl - 1, 0), edtl // 2, edtl * 2, choices.number(32)))
        edtl &= _WORD
        data = b""
        if flags & p.WRITE and (count := self._immediate(choices, edtl)):
            data = parameters.content(choices, unit, cdb, count) if parameter_list is None else parameter_list[:count]
        itt = self._tag(choices)
        final = p.FINAL
        if len(data) < edtl and self._may_follow(choices):
            final = 0
            length = max(0, min(edtl, _UNSOLICITED_BYTES_MAX) - len(data))
            self._outgoing.append(Outgoing(itt, p.NO_TAG, len(data), length))
        code, cmd_sn = self._numbered(choices, p.Op.SCSI_COMMAND, 4)
        return p.build(p.ScsiCommand(code, flags | final, 0, self._lun(choices, lun), itt, edtl, cmd_sn, 0, cdb), data)

    def read_much(self, choices: Choices) -> bytes:
        """As much as one command may."""
        cdb = bytes((0x88, 0)) + bytes(8) + (2048).to_bytes(4, "big") + bytes(2)
        code, cmd_sn = self._numbered(choices, p.Op.SCSI_COMMAND, 4)
        return p.build(p.ScsiCommand(code, p.FINAL | p.READ, 0, 0, self._tag(choices), 2**20, cmd_sn, 0, cdb))

    def write_without_data(self, choices: Choices) -> bytes:
        """Keeps the target waiting for data that does not come."""
        return self._write_without_data(choices, 0)

    def immediate_write_without_data(self, choices: Choices) -> bytes:
        """Half of them beside the window."""
        return self._write_without_data(choices, 50)

    def _write_without_data(self, choices: Choices, immediate_percent: int) -> bytes:
        blocks = choices.one_of((1, 128, 1024, 2048))
        cdb = bytes((0x8A, 0)) + bytes(8) + blocks.to_bytes(4, "big") + bytes(2)
        code, cmd_sn = self._numbered(choices, p.Op.SCSI_COMMAND, immediate_percent)
        request = p.ScsiCommand(code, p.FINAL | p.WRITE, 0, 0, self._tag(choices), blocks * 512, cmd_sn, 0, cdb)
        return p.build(request, choices.content(choices.one_of((0, 0, 512))))

    def _wanted(self, lun: int, cdb: bytes) -> int:
        """Bytes that the target will want of this command."""
        operation = OPERATIONS.get(cdb[0])
        if operation is None or operation.data_out_length is None:
            return 0
        session = self.session
        if session is None or session.nexus is None:
            return 512
        try:
            return self._target.data_out_length(Command(session.nexus, lun, cdb, b"", 0))
        except Refused:
            return 512

    def _immediate(self, choices: Choices, edtl: int) -> int:
        """How much data comes with the command: mostly what was negotiated."""
        kind = choices.below(20)
        if kind < 2:
            return choices.one_of((0, 1, edtl + 4, _UNSOLICITED_BYTES_MAX + 512)) % 262144
        session = self.session
        if session is not None and not session._immediate_data:
            return 0
        burst = _UNSOLICITED_BYTES_MAX if session is None else session._first_burst_bytes
        return min(edtl, burst) if kind < 14 else min(edtl, burst, choices.one_of((0, 0, 512, 1024, 4096)))

    def _may_follow(self, choices: Choices) -> bool:
        """Whether data follows that nobody has asked for: mostly only where that was negotiated."""
        session = self.session
        return choices.percent(2 if session is None or session._initial_r2t else 40)

    def data_out(self, choices: Choices) -> bytes:
        """The next piece of what the target waits for; when it waits for nothing, a command."""
        if not self._outgoing:
            if not choices.percent(10):
                return self.scsi_command(choices)
            self._outgoing.append(Outgoing(self._tag(choices), choices.number(32), 0, 512))
        index = choices.below(len(self._outgoing))
        out = self._outgoing[index]
        piece = min(out.length - out.sent, choices.one_of((512, 4096, 2**18, 2**18)))
        final = out.sent + piece >= out.length
        if final:
            del self._outgoing[index]
        else:
            self._outgoing[index] = out._replace(sent=out.sent + piece, data_sn=out.data_sn + 1)
        offset, flags = (out.offset + out.sent) & _WORD, p.FINAL if final else 0
        request = p.DataOut(p.Op.DATA_OUT, flags, 0, 0, out.itt, out.ttt, 0, out.data_sn, offset)
        if choices.percent(4):
            wrong = choices.one_of(("flags", "itt", "ttt", "data_sn", "offset"))
            request = request._replace(**{wrong: choices.number(8 if wrong == "flags" else 32)})
        return p.build(request, choices.content(piece))

    # ---- all other kinds

    def task_management(self, choices: Choices) -> bytes:
        """Any function; the harshest seldom."""
        function = choices.one_of((1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 5, 5, 6, 8, choices.below(128)))
        if choices.percent(1):
            function = 7
        code, cmd_sn = self._numbered(choices, p.Op.TASK_MANAGEMENT_REQUEST, 80)
        referenced = choices.one_of((*self._tags, p.NO_TAG))
        lun = self._lun(choices, choices.one_of((0, 0, 0, 1, 9)))
        itt = self._tag(choices)
        return p.build(p.TaskManagementRequest(code, p.FINAL | function, 0, lun, itt, referenced, cmd_sn, 0, 0, 0))

    def abort_own(self, choices: Choices) -> bytes:
        """One of the last commands, if it is still under way."""
        code, cmd_sn = self._numbered(choices, p.Op.TASK_MANAGEMENT_REQUEST, 90)
        referenced = choices.one_of(self._tags or (0,))
        self._itt += 1  # not one to be aborted: this request is over at once
        return p.build(p.TaskManagementRequest(code, p.FINAL | 1, 0, 0, self._itt, referenced, cmd_sn, 0, 0, 0))

    def nop_out(self, choices: Choices) -> bytes:
        """A ping, or news of numbers."""
        itt = p.NO_TAG if choices.percent(30) else self._tag(choices)
        code, cmd_sn = self._numbered(choices, p.Op.NOP_OUT, 60)
        data = choices.content(choices.one_of((0, 0, 4, 513, 262144)))
        return p.build(p.NopOut(code, p.FINAL, 0, 0, itt, p.NO_TAG, cmd_sn, 0), data)

    def text_request(self, choices: Choices) -> bytes:
        """Discovery, in pieces too."""
        code, cmd_sn = self._numbered(choices, p.Op.TEXT_REQUEST, 20)
        flags = choices.one_of((p.FINAL, p.FINAL, p.FINAL, 0, p.CONTINUE, p.FINAL | p.CONTINUE))
        text = choices.one_of(_TEXTS) * choices.one_of((1, 1, 1, 2, 50, 128))
        if choices.percent(10):
            text = choices.one_of((choices.octets(choices.below(200)), choices.content(16385)))
        return p.build(p.TextRequest(code, flags, 0, 0, self._tag(choices), p.NO_TAG, cmd_sn, 0), text)

    def logout(self, choices: Choices) -> bytes:
        """Seldom, as nothing comes after it."""
        if not choices.percent(20):
            return self.scsi_command(choices)
        code, cmd_sn = self._numbered(choices, p.Op.LOGOUT_REQUEST, 50)
        reason = choices.one_of((0, 0, 1, 1, 2, 3, 127))
        return p.build(p.LogoutRequest(code, p.FINAL | reason, 0, self._tag(choices), 0, cmd_sn, 0))

    def snack(self, choices: Choices) -> bytes:
        """Not supported, as there is no error recovery."""
        numbers = [choices.number(32) for _ in range(4)]
        return p.build(p.Snack(p.Op.SNACK, p.FINAL | choices.below(4), 0, 0, self._tag(choices), *numbers))

    def login_again(self, choices: Choices) -> bytes:
        """Too late for that."""
        return choices.one_of(logins.draw(choices, self._name, self.cmd_sn))

    def any_code(self, choices: Choices) -> bytes:
        """A header of any kind, also of those that only a target sends."""
        head = bytearray(choices.octets(p.HEADER_BYTES))
        head[4:8] = bytes(4)
        head[24:28] = self.cmd_sn.to_bytes(4, "big")
        return bytes(head)

    # ---- fields

    def _tag(self, choices: Choices) -> int:
        """A new task tag, mostly."""
        if choices.percent(2):
            return choices.one_of((p.NO_TAG, 0, *self._tags))
        self._itt = (self._itt + 1) % _TASK_TAGS
        self._tags.append(self._itt)
        del self._tags[:-32]
        return self._itt

    def _numbered(self, choices: Choices, code: int, immediate_percent: int) -> tuple[int, int]:
        """Operation code and CmdSN: an immediate request does not take the number."""
        cmd_sn = self.cmd_sn
        if choices.percent(immediate_percent):
            return code | p.IMMEDIATE, cmd_sn
        self.cmd_sn = (cmd_sn + 1) & _WORD
        return code, cmd_sn

    def _lun(self, choices: Choices, lun: int) -> int:
        if choices.percent(2):
            return choices.number(64)
        return int.from_bytes(lun_field(lun), "big")


# How often each kind is sent, by the mood of an initiator.
MIXED: Final[tuple[Kind, ...]] = (
    *[Requests.scsi_command] * 50,
    *[Requests.data_out] * 30,
    *[Requests.task_management] * 4,
    *[Requests.nop_out] * 4,
    *[Requests.text_request] * 3,
    *[Requests.logout] * 2,
    Requests.snack,
    Requests.login_again,
    *[Requests.any_code] * 2,
)
# Fights over the reservation of one unit.
RESERVER: Final[tuple[Kind, ...]] = (*[Requests.reservation] * 8, Requests.scsi_command)
# Wants more of the target's memory than there is for one initiator: with aborts, and without.
CHURNER: Final[tuple[Kind, ...]] = (
    *[Requests.immediate_write_without_data] * 30,
    *[Requests.abort_own] * 30,
    *[Requests.scsi_command] * 2,
    Requests.data_out,
)
HOARDER: Final[tuple[Kind, ...]] = (*[Requests.immediate_write_without_data] * 40, Requests.abort_own)
ORDERLY_HOARDER: Final[tuple[Kind, ...]] = (*[Requests.write_without_data] * 40, Requests.abort_own)
# Asks for more than it reads.
GREEDY: Final[tuple[Kind, ...]] = (*[Requests.read_much] * 8, Requests.scsi_command)
