"""The data that a target has asked for: no command may end well when the wrong data was sent (RFC 7143 11.4.7.2)."""

from __future__ import annotations

from typing import NamedTuple

from hil.scsi.iscsi import pdu as p


class Asked(NamedTuple):
    """An R2T that is not yet answered in full."""

    r2t: p.R2T
    sent_bytes: int = 0
    data_sn: int = 0


class Solicited:
    """By target transfer tag, of one connection."""

    def __init__(self) -> None:
        self._open: dict[int, Asked] = {}
        self._spoilt: set[int] = set()
        self._tags: set[int] = set()  # of all commands
        self._used_again: set[int] = set()  # for which of its commands an R2T or a status is cannot be told

    def asked(self, r2t: p.R2T) -> None:
        """The target sent this."""
        self._open[r2t.ttt] = Asked(r2t)

    def note(self, raw: bytes) -> None:
        """The initiator sends this PDU, whole."""
        request = p.parse(raw)
        if isinstance(request, p.ScsiCommand):
            if request.itt in self._tags:
                self._used_again.add(request.itt)
            self._tags.add(request.itt)
        elif isinstance(request, p.DataOut):
            asked = self._open.get(request.ttt)
            if asked is not None and asked.r2t.itt == request.itt:
                self._data_out(asked, request)

    def _data_out(self, asked: Asked, request: p.DataOut) -> None:
        final = bool(request.flags & p.FINAL)
        sent = asked.sent_bytes + (request.lengths & 0xFFFFFF)
        due = (asked.data_sn, asked.r2t.offset + asked.sent_bytes)
        desired = asked.r2t.desired
        if (request.data_sn, request.offset) != due or sent > desired or (final and sent != desired):
            self._spoilt.add(request.itt)
        if final:
            del self._open[request.ttt]
        else:
            self._open[request.ttt] = Asked(asked.r2t, sent, asked.data_sn + 1)

    def spoil(self, raw: bytes) -> None:
        """As ``note``, of data that will not arrive as it was sent."""
        request = p.parse(raw)
        assert isinstance(request, p.DataOut)
        asked = self._open.get(request.ttt)
        if asked is not None and asked.r2t.itt == request.itt:
            self._spoilt.add(request.itt)
        self.note(raw)

    def ended(self, itt: int) -> bool:
        """The command is over. Whether all that it had asked for was sent, and properly."""
        unanswered = [tag for tag, asked in self._open.items() if asked.r2t.itt == itt]
        for tag in unanswered:
            del self._open[tag]
        return itt in self._used_again or (itt not in self._spoilt and not unanswered)
