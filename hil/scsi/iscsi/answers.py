"""What a session sends, with the sequence numbers that every answer carries (RFC 7143 4.2.2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from hil.scsi.iscsi import pdu as p
from hil.scsi.sense import Status

if TYPE_CHECKING:
    from hil.scsi.command import Outcome
    from hil.scsi.iscsi.tasks import Task

LUN_NOT_REPRESENTABLE: Final = 0xFFFF  # no unit ever has it
_WORD: Final = 0xFFFFFFFF
_DATA_IN: Final = p.LAYOUTS[p.Op.DATA_IN][1].pack
_RESPONSE: Final = p.LAYOUTS[p.Op.SCSI_RESPONSE][1].pack
_SENSE_LENGTH: Final = struct.Struct(">H")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")


def lun_number(field: int) -> int:
    """The 8 bytes of a LUN as a number (SAM-5 4.7): single level, peripheral or flat; others name no unit."""
    first, rest = field >> 48, field & 0xFFFFFFFFFFFF
    method = first >> 14
    if rest or method > 1 or (method == 0 and first > 0xFF):
        return LUN_NOT_REPRESENTABLE
    return first & 0x3FFF


class Answers:
    """``out``: pieces to send, in order; ``out_bytes``: their total, roughly.

    ``segment_bytes``: longest data segment to send."""

    def __init__(self, *, exp_cmd_sn: int, max_cmd_sn: int, stat_sn: int, segment_bytes: int, burst_bytes: int) -> None:
        self.exp_cmd_sn = exp_cmd_sn
        self.max_cmd_sn = max_cmd_sn
        self.segment_bytes = segment_bytes
        self.out: list[bytes | memoryview] = []
        self.out_bytes = 0
        self._stat_sn = stat_sn
        # PDUs of a sequence are full segments, so a sequence ends at a whole number of them below MaxBurstLength.
        self._piece_bytes = min(segment_bytes, burst_bytes)
        self._sequence_bytes = burst_bytes // self._piece_bytes * self._piece_bytes

    def _next_stat_sn(self) -> int:
        now = self._stat_sn
        self._stat_sn = (now + 1) & _WORD
        return now

    def answer(self, task: Task, outcome: Outcome) -> None:
        """Data and status of a command; status GOOD travels in the last Data-In, TASK ABORTED is never sent (TAS=0)."""
        status, data, sense = outcome
        itt, lun_field, flags, edtl = task.itt, task.lun_field, task.flags, task.edtl
        expected = edtl if flags & p.READ else 0
        if data and not status and expected:
            length = len(data)
            if length == expected:
                self._data_in(data, itt, lun_field, p.FINAL | p.HAS_STATUS, 0)
            elif length < expected:
                self._data_in(data, itt, lun_field, p.FINAL | p.HAS_STATUS | p.UNDERFLOW, expected - length)
            else:
                flags = p.FINAL | p.HAS_STATUS | p.OVERFLOW
                self._data_in(memoryview(data)[:expected], itt, lun_field, flags, length - expected)
            return
        if status == Status.TASK_ABORTED:
            return
        # How much was or would have been moved, against what the initiator expected to move (RFC 7143 11.4.5.1).
        moved = 0 if status else max(task.command.data_out_bytes, len(data))
        residual = edtl - moved if flags & (p.READ | p.WRITE) else -moved
        residual_flags = p.UNDERFLOW if residual > 0 else p.OVERFLOW if residual < 0 else 0
        segment = _SENSE_LENGTH.pack(len(sense)) + sense if sense else b""
        header = _RESPONSE(
            p.Op.SCSI_RESPONSE, p.FINAL | residual_flags, 0, status, len(segment), itt, 0, self._next_stat_sn(),
            self.exp_cmd_sn, self.max_cmd_sn, 0, 0, abs(residual),
        )  # fmt: skip
        self._send(header + segment + _PADDING[len(segment) & 3] if segment else header)

    def _data_in(self, data: bytes | memoryview, itt: int, lun_field: int, flags: int, residual: int) -> None:
        length = len(data)
        offset = data_sn = 0
        if length > self._piece_bytes:
            view = memoryview(data)
            while length - offset > self._piece_bytes:
                end = offset + self._piece_bytes
                header = _DATA_IN(
                    p.Op.DATA_IN, 0 if end % self._sequence_bytes else p.FINAL, 0, self._piece_bytes, lun_field, itt,
                    p.NO_TAG, 0, self.exp_cmd_sn, self.max_cmd_sn, data_sn, offset, 0,
                )  # fmt: skip
                self._send(header)
                self._send(view[offset:end])
                if self._piece_bytes & 3:
                    self._send(_PADDING[self._piece_bytes & 3])
                data_sn += 1
                offset = end
            data = view[offset:]
        last = length - offset
        header = _DATA_IN(
            p.Op.DATA_IN, flags, 0, last, lun_field, itt,
            p.NO_TAG, self._next_stat_sn(), self.exp_cmd_sn, self.max_cmd_sn, data_sn, offset, residual,
        )  # fmt: skip
        out = self.out
        out.append(header)
        out.append(data)
        if last & 3:
            out.append(_PADDING[last & 3])
        self.out_bytes += last

    def _send(self, piece: bytes | memoryview) -> None:
        self.out.append(piece)
        self.out_bytes += len(piece)

    def ready_to_transfer(self, task: Task, tag: int, r2t_sn: int, offset: int, length: int) -> None:
        """R2T (RFC 7143 11.8); carries the next StatSN without taking it."""
        stat_sn, exp_cmd_sn, max_cmd_sn = self._stat_sn, self.exp_cmd_sn, self.max_cmd_sn
        lun_field, itt = task.lun_field, task.itt
        request = p.R2T(
            p.Op.R2T, p.FINAL, 0, lun_field, itt, tag, stat_sn, exp_cmd_sn, max_cmd_sn, r2t_sn, offset, length
        )
        self._send(p.build(request))

    def nop_in(self, itt: int, lun_field: int, data: bytes) -> None:
        """The answer to a ping, with its data."""
        stat_sn = self._next_stat_sn()
        answer = p.NopIn(p.Op.NOP_IN, p.FINAL, 0, lun_field, itt, p.NO_TAG, stat_sn, self.exp_cmd_sn, self.max_cmd_sn)
        self._send(p.build(answer, data))

    def task_management_response(self, itt: int, response: int) -> None:
        """RFC 7143 11.6."""
        stat_sn = self._next_stat_sn()
        self._send(
            p.build(
                p.TaskManagementResponse(
                    p.Op.TASK_MANAGEMENT_RESPONSE, p.FINAL, response, 0, itt, stat_sn, self.exp_cmd_sn, self.max_cmd_sn
                )
            )
        )

    def text_response(self, itt: int, lun_field: int, data: bytes, *, over: bool, rest: bool) -> None:
        """RFC 7143 11.11; ``over``: nothing more on either side. ``rest``: the initiator is to ask for more of it."""
        stat_sn = self._next_stat_sn()
        flags, tag = (p.FINAL, p.NO_TAG) if over else (p.CONTINUE if rest else 0, 1)
        answer = p.TextResponse(
            p.Op.TEXT_RESPONSE, flags, 0, lun_field, itt, tag, stat_sn, self.exp_cmd_sn, self.max_cmd_sn
        )
        self._send(p.build(answer, data))

    def logout_response(self, itt: int, response: int) -> None:
        """RFC 7143 11.15."""
        stat_sn = self._next_stat_sn()
        self._send(
            p.build(
                p.LogoutResponse(
                    p.Op.LOGOUT_RESPONSE, p.FINAL, response, 0, itt, stat_sn, self.exp_cmd_sn, self.max_cmd_sn, 0, 0
                )
            )
        )

    def reject(self, reason: int, buffer: bytearray, offset: int) -> None:
        """RFC 7143 11.17: the header that was not taken goes back as data."""
        stat_sn = self._next_stat_sn()
        answer = p.Reject(p.Op.REJECT, p.FINAL, reason, 0, p.NO_TAG, stat_sn, self.exp_cmd_sn, self.max_cmd_sn, 0)
        self._send(p.build(answer, bytes(buffer[offset : offset + p.HEADER_BYTES])))
