"""The commands of one connection that may still get a status: sent, not answered, not aborted."""

from __future__ import annotations

from typing import Final, NamedTuple

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.answers import lun_number

_COMMAND: Final = p.LAYOUTS[p.Op.SCSI_COMMAND][1].unpack_from
# Requests that take a CmdSN, unless they are immediate; it is at the same place in all of them.
_NUMBERED: Final = (
    p.Op.NOP_OUT,
    p.Op.SCSI_COMMAND,
    p.Op.TASK_MANAGEMENT_REQUEST,
    p.Op.TEXT_REQUEST,
    p.Op.LOGOUT_REQUEST,
)
_EVERY_LUN: Final = -1
_TAGS_MAX: Final = 4096

# Task management function: whether it is about one task, one LUN, or everything (RFC 7143 11.5.1).
_ONE_TASK: Final = 1
_ONE_LUN: Final = (2, 4, 5)
_EVERYTHING: Final = (6, 7)


class Sent(NamedTuple):
    """A command. ``at`` counts the PDUs sent: when it was."""

    edtl: int
    lun: int
    cmd_sn: int
    at: int


class Abort(NamedTuple):
    """A task management request; everything that it is about and that was sent before owes nothing when it is done."""

    itt: int | None
    lun: int
    at: int

    def covers(self, sent: Sent) -> bool:
        """Of a command with the right tag."""
        return sent.at < self.at and self.lun in (_EVERY_LUN, sent.lun)


class Outstanding:
    """By task tag. ``known`` is false once there were too many to keep, and then nothing is told apart any more.

    ``exp_cmd_sn`` is the number after the last of those that were sent without a gap; None before login.
    """

    def __init__(self) -> None:
        self.known = True
        self.exp_cmd_sn: int | None = None
        self._sent: dict[int, list[Sent]] = {}
        self._aborts: dict[int, Abort | None] = {}
        self._at = 0

    def note(self, raw: bytes) -> None:
        """The initiator sends this PDU."""
        self._at += 1
        code = raw[0] & 0x3F
        if raw[0] & 0x7F in _NUMBERED and int.from_bytes(raw[24:28], "big") == self.exp_cmd_sn:
            self.exp_cmd_sn = (self.exp_cmd_sn + 1) & 0xFFFFFFFF
        elif code == p.Op.LOGIN_REQUEST and self.exp_cmd_sn is None:
            self.exp_cmd_sn = int.from_bytes(raw[24:28], "big")
        if code == p.Op.SCSI_COMMAND:
            _, _, _, lun_field, itt, edtl, cmd_sn, _, _ = _COMMAND(raw)
            self._sent.setdefault(itt, []).append(Sent(edtl, lun_number(lun_field), cmd_sn, self._at))
            if len(self._sent) > _TAGS_MAX:
                self.known = False
                self._sent.clear()
        elif code == p.Op.TASK_MANAGEMENT_REQUEST:
            request = p.parse(raw)
            assert isinstance(request, p.TaskManagementRequest)
            if request.itt in self._aborts:  # which of the two an answer will be for cannot be said
                self._aborts[request.itt] = None
            else:
                self._aborts[request.itt] = self._abort(request)

    def _abort(self, request: p.TaskManagementRequest) -> Abort | None:
        function = request.flags & 0x7F
        if function == _ONE_TASK:
            return Abort(request.referenced_itt, _EVERY_LUN, self._at)
        if function in _ONE_LUN:
            return Abort(None, lun_number(request.lun), self._at)
        return Abort(None, _EVERY_LUN, self._at) if function in _EVERYTHING else None

    def edtl(self, itt: int) -> int:
        """The longest expected length of the commands with this tag; 0 when there is none."""
        return max((sent.edtl for sent in self._sent.get(itt, ())), default=0)

    def answered(self, itt: int) -> bool:
        """One of them is over. False: there is none."""
        found = self._sent.get(itt)
        if not found:
            return False
        found.pop(0)
        if not found:
            del self._sent[itt]
        return True

    def rejected(self, header: bytes) -> None:
        """This command will get no status."""
        _, _, _, _, itt, _, cmd_sn, _, _ = _COMMAND(header)
        found = self._sent.get(itt, [])
        for sent in reversed(found):
            if sent.cmd_sn == cmd_sn:
                found.remove(sent)
                break
        if not found:
            self._sent.pop(itt, None)

    def managed(self, itt: int) -> None:
        """The task management request with this tag has been carried out."""
        abort = self._aborts.get(itt)
        if abort is None:
            return
        del self._aborts[itt]
        tags = list(self._sent) if abort.itt is None else [abort.itt]
        for tag in tags:
            left = [sent for sent in self._sent.get(tag, ()) if not abort.covers(sent)]
            if left:
                self._sent[tag] = left
            else:
                self._sent.pop(tag, None)
