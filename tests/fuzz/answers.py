"""What an iSCSI target sends, looked at PDU by PDU: is each one that a target may send now? (RFC 7143)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hil.scsi.iscsi import pdu as p
from hil.scsi.iscsi.login import FULL_FEATURE
from hil.scsi.iscsi.pending import WINDOW
from hil.scsi.iscsi.task_management import Response
from hil.scsi.sense import Status
from tests.fuzz.digests import DIGEST_BYTES, digest
from tests.fuzz.outstanding import Outstanding
from tests.fuzz.solicited import Solicited
from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
    from collections.abc import Callable

_WORD: Final = 0xFFFFFFFF
_LOGIN_SEGMENT_BYTES: Final = 8192  # RFC 7143 13.12: holds until the initiator declares another
_STATUS_BEARING: Final = (
    *(p.ScsiResponse, p.TaskManagementResponse, p.LoginResponse, p.TextResponse, p.LogoutResponse, p.Reject, p.NopIn),
)


class DataInSequence(NamedTuple):
    """What the next Data-In of a command has to say."""

    data_sn: int
    offset: int


class AnswerReader:
    """Of one connection. ``segment_bytes`` and ``burst_bytes`` are what was negotiated, known once login is over.

    As long as the initiator's own stream is one of whole PDUs (``wild`` is false) every answer must belong to a
    command that was sent, and there is at most one for each.
    """

    def __init__(self, logged_in: Callable[[AnswerReader], None]) -> None:
        """``logged_in`` is called when full feature phase begins: it knows what was negotiated."""
        self.segment_bytes = _LOGIN_SEGMENT_BYTES
        self.burst_bytes = 0
        self.wild = False
        self.header_digest = False
        self.data_digest = False
        self.outstanding = Outstanding()
        self._solicited = Solicited()
        self.pdus = 0
        self.r2ts: list[p.R2T] = []
        self.new_r2ts: list[p.R2T] = []
        self.statuses: dict[int, int] = {}
        self.last: p.Pdu | None = None
        self.last_data = b""
        self.logged_in = logged_in
        self._rest = b""
        self._stat_sn: int | None = None
        self._exp_cmd_sn: int | None = None
        self._max_cmd_sn = 0
        self._data_in: dict[int, DataInSequence] = {}

    def note(self, raw: bytes) -> None:
        """The initiator sends this PDU, whole."""
        self.outstanding.note(raw)
        self._solicited.note(raw)

    def spoil(self, raw: bytes) -> None:
        """The initiator sends this Data-Out, and something else arrives."""
        self._solicited.spoil(raw)

    @property
    def _strict(self) -> bool:
        return not self.wild and self.outstanding.known

    def take(self, data: bytes) -> None:
        """The next bytes, of any number. Raises ``Wrong``."""
        stream = self._rest + data if self._rest else data
        start, end = 0, len(stream)
        while end - start >= p.HEADER_BYTES:
            word = int.from_bytes(stream[start + 4 : start + 8], "big")
            length = word & 0xFFFFFF
            padded = length + 3 & ~3
            first = p.HEADER_BYTES + (DIGEST_BYTES if self.header_digest else 0)
            total = first + padded + (DIGEST_BYTES if self.data_digest and length else 0)
            if word >> 24 or length > self.segment_bytes:
                raise Wrong(f"a data segment of {length} bytes where {self.segment_bytes} are legal: {word:08x}")
            if end - start < total:
                break
            self._check_digests(stream[start : start + total], first, first + padded)
            self._one(stream, start, start + first, length)
            start += total
        self._rest = stream[start:]

    def _check_digests(self, raw: bytes, data: int, end: int) -> None:
        for what, covered, sent in (
            ("header", raw[: p.HEADER_BYTES], raw[p.HEADER_BYTES : data]),
            ("data", raw[data:end], raw[end:]),
        ):
            if sent and sent != digest(covered):
                raise Wrong(f"a {what} digest that is none: {raw[: p.HEADER_BYTES].hex()}")

    def _one(self, stream: bytes, start: int, data: int, length: int) -> None:
        found = p.parse(stream, start)
        check = _CHECKS.get(type(found))
        if found is None or check is None:
            raise Wrong(f"a target may not send {found or stream[start]}")
        self.pdus += 1
        self.last = found
        self.last_data = stream[data : data + length]
        self._numbers(found)
        check(self, found)

    def _numbers(self, found: p.Pdu) -> None:
        """StatSN counts what carries a status; ExpCmdSN and MaxCmdSN never go back (RFC 7143 4.2.2)."""
        takes = isinstance(found, _STATUS_BEARING) or (isinstance(found, p.DataIn) and found.flags & p.HAS_STATUS)
        assert not isinstance(found, (p.ScsiCommand, p.DataOut))
        stat_sn = found.stat_sn  # type: ignore[union-attr]
        if self._stat_sn is None:
            self._stat_sn = stat_sn
        if takes or isinstance(found, p.R2T):
            if stat_sn != self._stat_sn:
                raise Wrong(f"StatSN {stat_sn} where {self._stat_sn} is due: {found}")
            if takes:
                self._stat_sn = (stat_sn + 1) & _WORD
        exp, most = found.exp_cmd_sn, found.max_cmd_sn  # type: ignore[union-attr]
        if (most + 1 - exp) & _WORD > WINDOW:
            raise Wrong(f"a window from {exp} to {most}: {found}")
        if self._exp_cmd_sn is not None and not isinstance(found, p.LoginResponse):
            for before, now in ((self._exp_cmd_sn, exp), (self._max_cmd_sn, most)):
                if (now - before) & _WORD > _WORD // 2:
                    raise Wrong(f"ExpCmdSN or MaxCmdSN goes back from {before}: {found}")
        sent = self.outstanding.exp_cmd_sn
        if self._strict and sent is not None and (sent - exp) & _WORD > _WORD // 2:
            raise Wrong(f"ExpCmdSN {exp}, and nothing was sent after {sent} without a gap")
        self._exp_cmd_sn, self._max_cmd_sn = exp, most

    def _status(self, itt: int, status: int) -> None:
        if status == Status.TASK_ABORTED:  # TAS=0 (SPC-4 7.5.8)
            raise Wrong(f"an answer to a command that was aborted: {itt:#x}")
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self._data_in.pop(itt, None)
        self.r2ts = [r2t for r2t in self.r2ts if r2t.itt != itt]
        if self._strict and not self.outstanding.answered(itt):
            raise Wrong(f"a status for task {itt:#x}, for which none is due")
        proper = self._solicited.ended(itt)
        if self._strict and status == Status.GOOD and not proper:
            raise Wrong(f"task {itt:#x} ended well without the data that was asked for")

    def _response(self, found: p.ScsiResponse) -> None:
        self._status(found.itt, found.status)

    def _data(self, found: p.DataIn) -> None:
        due = self._data_in.get(found.itt, DataInSequence(0, 0))
        length = len(self.last_data)
        if (found.data_sn, found.offset) != due:
            raise Wrong(f"Data-In out of order, {due} was due: {found}")
        if self._strict and due.offset + length > self.outstanding.edtl(found.itt):
            raise Wrong(f"Data-In beyond the {self.outstanding.edtl(found.itt)} bytes that were expected: {found}")
        self._data_in[found.itt] = DataInSequence(due.data_sn + 1, due.offset + length)
        if found.flags & p.HAS_STATUS:
            self._status(found.itt, found.status)

    def _r2t(self, found: p.R2T) -> None:
        if not 0 < found.desired <= self.burst_bytes or found.ttt == p.NO_TAG:
            raise Wrong(f"an R2T for {found.desired} bytes, at most {self.burst_bytes} are legal: {found}")
        if any(found.ttt == open_.ttt for open_ in self.r2ts):
            raise Wrong(f"two R2Ts with the same tag: {found}")
        if self._strict and found.offset + found.desired > self.outstanding.edtl(found.itt):
            raise Wrong(f"an R2T for data that nobody announced: {found}")
        self._solicited.asked(found)
        self.new_r2ts.append(found)
        self.r2ts.append(found)
        del self.r2ts[:-1024]

    def _reject(self, found: p.Reject) -> None:
        """A command that is rejected gets no status; which it was is in the header that comes back."""
        if self.last_data[0] & 0x3F == p.Op.SCSI_COMMAND:
            self.outstanding.rejected(self.last_data)

    def _managed(self, found: p.TaskManagementResponse) -> None:
        if found.response == Response.COMPLETE:
            self.outstanding.managed(found.itt)

    def _login(self, found: p.LoginResponse) -> None:
        if not found.status and found.flags & p.FINAL and found.flags & 3 == FULL_FEATURE:
            self.logged_in(self)

    def _other(self, found: p.Pdu) -> None:
        pass


_CHECKS: Final[dict[type, Callable[[AnswerReader, Any], None]]] = {
    p.ScsiResponse: AnswerReader._response,
    p.DataIn: AnswerReader._data,
    p.R2T: AnswerReader._r2t,
    p.Reject: AnswerReader._reject,
    p.NopIn: AnswerReader._other,
    p.LoginResponse: AnswerReader._login,
    p.TextResponse: AnswerReader._other,
    p.TaskManagementResponse: AnswerReader._managed,
    p.LogoutResponse: AnswerReader._other,
}
