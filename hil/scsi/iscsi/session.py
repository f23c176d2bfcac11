"""Full feature phase of one session (RFC 7143 chapter 4): PDUs in, bytes to send in ``out``; no socket.

Every command that has its data runs to its end at once, so pending are only writes that wait for data, and commands
that a fault holds in the target. The initiator may have ``WINDOW`` commands under way: MaxCmdSN moves on when a
command finishes, not when it arrives.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from hil.scsi.command import Command, Nexus, Outcome, check_condition
from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.answers import lun_number
from hil.scsi.iscsi.negotiation import BadText, Parameters
from hil.scsi.iscsi.pending import TASKS_MAX, WINDOW, Pending
from hil.scsi.iscsi.task_management import manage
from hil.scsi.iscsi.tasks import Task
from hil.scsi.iscsi.text import TextExchange
from hil.scsi.iscsi.transfer import Transfer
from hil.scsi.sense import Refused, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.scsi.iscsi.login import Login
    from hil.scsi.target import Target

_SCSI_COMMAND: Final = p.LAYOUTS[p.Op.SCSI_COMMAND][1].unpack_from
_WORD: Final = 0xFFFFFFFF


class Session(Pending):
    """``ending`` is set, to a reason, when the connection has to go once ``out`` is sent."""

    def __init__(
        self,
        target: Target,
        nexus: Nexus | None,
        login: Login,
        host: str,
        drop: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        """``nexus`` None: discovery. ``host``: where the initiator has its connection to. ``drop`` ends us.

        ``wake``: there is something to send that nothing received asked for.
        """
        parameters: Parameters = login.parameters
        super().__init__(
            target,
            nexus,
            wake,
            exp_cmd_sn=login.exp_cmd_sn,
            max_cmd_sn=(login.exp_cmd_sn + WINDOW - 1) & _WORD,
            stat_sn=login.stat_sn,
            segment_bytes=parameters.number("MaxRecvDataSegmentLength"),
            burst_bytes=parameters.number("MaxBurstLength"),
        )
        self.ending = ""
        self._ended = False
        self._cid = login.cid
        self._drop = drop
        self._burst_bytes = parameters.number("MaxBurstLength")
        self._first_burst_bytes = parameters.number("FirstBurstLength")
        self._immediate_data = parameters["ImmediateData"] == "Yes"
        self._initial_r2t = parameters["InitialR2T"] == "Yes"
        self._tag = 0
        self._text = TextExchange(target, login.initiator, host, self.segment_bytes)
        self._take: dict[int, Callable[[bytearray, int, bytes | memoryview], None]] = {
            p.Op.NOP_OUT: self._nop_out,
            p.Op.SCSI_COMMAND: self._scsi_command,
            p.Op.TASK_MANAGEMENT_REQUEST: self._task_management,
            p.Op.TEXT_REQUEST: self._text_request,
            p.Op.DATA_OUT: self._data_out,
            p.Op.LOGOUT_REQUEST: self._logout,
        }

    def receive(self, buffer: bytearray, offset: int, data: bytes | memoryview) -> None:
        """Takes the PDU whose header is at ``offset``; ``data`` is its data segment, valid during the call."""
        take = self._take.get(buffer[offset] & 0x3F)
        if take is None:
            self.reject(p.RejectReason.COMMAND_NOT_SUPPORTED, buffer, offset)
        else:
            take(buffer, offset, data)

    def receive_damaged(self, buffer: bytearray, offset: int) -> None:
        """Takes a PDU with a data digest error: rejected and discarded (RFC 7143 7.8).

        Data of a write spoil it: its task ends with PROTOCOL SERVICE CRC ERROR when the initiator has sent the rest.
        Any other request is as if it had never come. Unless it is immediate its CmdSN is missing from then on, and at
        error recovery level 0 nobody may send it again (7.1.5): that ends the session.
        """
        self.reject(p.RejectReason.DATA_DIGEST_ERROR, buffer, offset)
        request = p.parse(buffer, offset)
        if isinstance(request, p.DataOut):
            task = self.tasks.by_itt.get(request.itt)
            if task is not None and task.transfer is not None and task.transfer.spoil(request):
                self._proceed(task)
        elif not buffer[offset] & p.IMMEDIATE:
            self.ending = "data digest error in a request that is not immediate"

    def end(self, reason: str) -> None:
        """Aborts everything and drops the connection at once (session reinstatement, RFC 7143 6.3.5)."""
        if self._ended:
            return
        self._ended = True
        self.abandon_tasks()
        self.ending = reason
        self._drop(reason)

    def _in_order(self, immediate: int, cmd_sn: int) -> bool:
        """RFC 7143 4.2.2.1: takes the number. False: outside the window, to be ignored, or a gap, which ends the
        session.

        On the only connection of a session commands arrive in order, so a gap will never be filled.
        """
        if immediate:
            return True
        ahead = (cmd_sn - self.exp_cmd_sn) & _WORD
        if ahead >= (self.max_cmd_sn + 1 - self.exp_cmd_sn) & _WORD:
            return False
        if ahead:
            self.ending = f"CmdSN {cmd_sn} where {self.exp_cmd_sn} is due"
            return False
        self.exp_cmd_sn = (cmd_sn + 1) & _WORD
        return True

    def _scsi_command(self, buffer: bytearray, offset: int, data: bytes | memoryview) -> None:
        opcode, flags, _, lun_field, itt, edtl, cmd_sn, _, cdb = _SCSI_COMMAND(buffer, offset)
        immediate = opcode & p.IMMEDIATE
        if not self._in_order(immediate, cmd_sn):
            return
        nexus = self.nexus
        if nexus is None or itt in self.tasks.by_itt or itt == p.NO_TAG:
            self._refuse(buffer, offset, immediate)
            return
        lun = 0 if not lun_field else lun_number(lun_field)
        command = Command(nexus, lun, cdb, data, monotonic_ns())
        task = Task(command, itt, lun_field, flags, edtl)
        if not (flags & p.WRITE and edtl):
            command.data = b""
        elif len(data) != edtl or not flags & p.FINAL or not self._all_legal(edtl):
            task.immediate = immediate
            self._begin_transfer(task, buffer, offset)
            return
        outcome = self.target.execute(command)
        if outcome is None:
            task.immediate = immediate
            self._hold(task)
            return
        ledger = self.target.ledger  # not by way of the target: one call less for each command
        if ledger is not None:
            ledger.record(nexus, command, outcome)
        if not immediate:
            self.max_cmd_sn = (self.max_cmd_sn + 1) & _WORD
        self.answer(task, outcome)

    def _all_legal(self, length: int) -> bool:
        return self._immediate_data and length <= self._first_burst_bytes

    def _refuse(self, buffer: bytearray, offset: int, immediate: int) -> None:
        """A command in a discovery session, or with a task tag that is in use or reserved."""
        if not immediate:
            self.max_cmd_sn = (self.max_cmd_sn + 1) & _WORD
        reason = p.RejectReason.PROTOCOL_ERROR if self.nexus is None else p.RejectReason.TASK_IN_PROGRESS
        self.reject(reason, buffer, offset)

    def _begin_transfer(self, task: Task, buffer: bytearray, offset: int) -> None:
        if len(self.tasks.by_itt) >= TASKS_MAX:
            if task.immediate:
                self.reject(p.RejectReason.IMMEDIATE_COMMAND, buffer, offset)
            else:  # immediate commands took the room that the window promises
                self._finish(task, Outcome(Status.TASK_SET_FULL))
            return
        more = not task.flags & p.FINAL
        legal = self._immediate_data
        task.transfer = Transfer(task.edtl, task.command.data, self._first_burst_bytes, more=more, legal=legal)
        task.command.data = b""  # was in the receive buffer
        if more and self._initial_r2t:
            task.transfer.forbid_unsolicited()
        self.tasks.add(task)
        if not more:
            self._proceed(task)

    def _data_out(self, buffer: bytearray, offset: int, data: bytes | memoryview) -> None:
        request = p.parse(buffer, offset)
        assert isinstance(request, p.DataOut)
        task = self.tasks.by_itt.get(request.itt)
        transfer = task.transfer if task else None
        if task is None or transfer is None or not transfer.sequence_open:
            return  # of a command that was aborted, or refused before its data came
        if transfer.take(request, data):
            self._proceed(task)

    def _proceed(self, task: Task) -> None:
        """A sequence of data has ended: fails, asks for more, or executes."""
        transfer, command = task.transfer, task.command
        assert transfer is not None
        try:
            if transfer.failed:
                raise Refused(transfer.failed)
            wanted = min(task.edtl, self.target.data_out_length(command))
        except Refused as refused:
            command.data = transfer.received
            self._finish(task, check_condition(refused))
            return
        if len(transfer.received) >= wanted:
            command.data = transfer.received
            outcome = self.target.execute(command)
            if outcome is None:
                self._hold(task)
            else:
                self._finish(task, outcome)
        elif task.solicited or self.tasks.reserve(task, wanted):
            self._solicit(task, transfer, wanted)

    def _solicit(self, task: Task, transfer: Transfer, wanted: int) -> None:
        have = len(transfer.received)
        length = min(wanted - have, self._burst_bytes)
        self._tag = (self._tag + 1) % p.NO_TAG
        self.ready_to_transfer(task, self._tag, transfer.r2t_sn, have, length)
        transfer.solicit(self._tag, length)

    def _nop_out(self, buffer: bytearray, offset: int, data: bytes | memoryview) -> None:
        request = p.parse(buffer, offset)
        assert isinstance(request, p.NopOut)
        if request.itt == p.NO_TAG:  # an answer to a NOP-In, or news of ExpStatSN; takes no CmdSN when it is immediate
            self._in_order_alone(request.opcode, request.cmd_sn)
        elif self._in_order_alone(request.opcode, request.cmd_sn):
            self.nop_in(request.itt, request.lun, bytes(data[: self.segment_bytes]))

    def _in_order_alone(self, opcode: int, cmd_sn: int) -> bool:
        """``_in_order`` for a request that is over as soon as it was taken."""
        immediate = opcode & p.IMMEDIATE
        taken = self._in_order(immediate, cmd_sn)
        if taken and not immediate:
            self.max_cmd_sn = (self.max_cmd_sn + 1) & _WORD
        return taken

    def _task_management(self, buffer: bytearray, offset: int, data: bytes | memoryview) -> None:
        request = p.parse(buffer, offset)
        assert isinstance(request, p.TaskManagementRequest)
        if not self._in_order_alone(request.opcode, request.cmd_sn):
            return
        if self.nexus is None:
            self.reject(p.RejectReason.PROTOCOL_ERROR, buffer, offset)
        else:
            self.task_management_response(request.itt, manage(self, request))

    def _text_request(self, buffer: bytearray, offset: int, data: bytes | memoryview) -> None:
        request = p.parse(buffer, offset)
        assert isinstance(request, p.TextRequest)
        if not self._in_order_alone(request.opcode, request.cmd_sn):
            return
        more, final = bool(request.flags & p.CONTINUE), bool(request.flags & p.FINAL)
        try:
            if more and final:
                raise BadText
            answer, rest = self._text.take(bytes(data), more=more, discovery=self.nexus is None)
        except BadText:
            self.reject(p.RejectReason.PROTOCOL_ERROR, buffer, offset)
            return
        self.text_response(request.itt, request.lun, answer, over=final and not rest, rest=rest)

    def _logout(self, buffer: bytearray, offset: int, data: bytes | memoryview) -> None:
        """RFC 7143 11.14: closing the session and closing its only connection are the same."""
        request = p.parse(buffer, offset)
        assert isinstance(request, p.LogoutRequest)
        if not self._in_order_alone(request.opcode, request.cmd_sn):
            return
        reason = request.flags & 0x7F
        if reason > 2:
            self.reject(p.RejectReason.INVALID_PDU_FIELD, buffer, offset)
        elif reason == 2:
            self.logout_response(request.itt, 2)  # connection recovery is not supported
        elif reason == 1 and request.cid != self._cid:
            self.logout_response(request.itt, 1)  # no such connection
        else:
            self.abandon_tasks()
            self.logout_response(request.itt, 0)
            self.ending = "logout"
