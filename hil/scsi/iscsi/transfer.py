"""The data of a write that did not come with its command: unsolicited up to FirstBurstLength, then R2T by R2T.

Data is taken in order only (DataPDUInOrder and DataSequenceInOrder are Yes), so what was received is simply appended,
and the memory taken is what was asked for and came.
"""

from __future__ import annotations

from hil.scsi.iscsi.pdu import FINAL, NO_TAG, DataOut
from hil.scsi.sense import INCORRECT_AMOUNT_OF_DATA, PROTOCOL_SERVICE_CRC_ERROR, UNEXPECTED_UNSOLICITED_DATA, Sense


class Transfer:
    """State: ``sequence_open`` while a sequence of Data-Out is under way, which ends at ``sequence_end`` (offset,
    bytes).

    After a mistake ``failed`` says which, and the rest of the sequence is swallowed: the status may only be sent when
    the initiator has stopped sending (RFC 7143 11.4.2).
    """

    __slots__ = ("_data_sn", "_tag", "edtl", "failed", "r2t_sn", "received", "sequence_end", "sequence_open")

    def __init__(
        self, edtl: int, immediate: bytes | bytearray | memoryview, first_burst: int, *, more: bool, legal: bool
    ) -> None:
        """``more``: unsolicited Data-Out follow. ``legal``: immediate data was negotiated."""
        self.edtl = edtl
        self.received = bytearray(immediate)
        self.failed: Sense | None = None
        self.r2t_sn = 0
        self._data_sn = 0
        self._tag = NO_TAG
        self.sequence_open = more
        self.sequence_end = min(edtl, first_burst)
        if immediate and not legal:
            self.failed = UNEXPECTED_UNSOLICITED_DATA
        elif len(immediate) > self.sequence_end:
            self.failed = INCORRECT_AMOUNT_OF_DATA
        if self.failed:
            self.received.clear()

    def solicit(self, tag: int, length: int) -> None:
        """An R2T with this target transfer tag asks for ``length`` bytes after those received."""
        self._tag = tag
        self._data_sn = 0
        self.r2t_sn += 1
        self.sequence_end = len(self.received) + length
        self.sequence_open = True

    def forbid_unsolicited(self) -> None:
        """InitialR2T=Yes was negotiated, yet the command announces unsolicited Data-Out."""
        self.failed = UNEXPECTED_UNSOLICITED_DATA

    def take(self, request: DataOut, data: bytes | memoryview) -> bool:
        """One Data-Out of this command; whether it ended its sequence."""
        if request.ttt != self._tag or not self.sequence_open:
            return False  # of a sequence that was never asked for: not our data
        final = bool(request.flags & FINAL)
        end = len(self.received) + len(data)
        if self.failed is None:
            if request.data_sn != self._data_sn or request.offset != len(self.received):
                self.failed = PROTOCOL_SERVICE_CRC_ERROR
            elif end > self.sequence_end or (final and self._tag != NO_TAG and end != self.sequence_end):
                self.failed = INCORRECT_AMOUNT_OF_DATA
            else:
                self.received += data
        self._data_sn += 1
        self.sequence_open = not final
        return final

    def spoil(self, request: DataOut) -> bool:
        """As ``take``, of one whose data did not arrive as it was sent (RFC 7143 7.8, the choice without an R2T)."""
        if request.ttt == self._tag and self.sequence_open and self.failed is None:
            self.failed = PROTOCOL_SERVICE_CRC_ERROR
        return self.take(request, b"")
