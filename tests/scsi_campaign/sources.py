"""Where a replay has its data from: the kept data, or the initiators themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from hil.scsi.digest import digest
from hil.scsi.kept_data import Frame
from hil.scsi.ledger import Entry
from hil.scsi.ledger_records import Found, Placed, Reverted
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sense import MISCOMPARE, Status
from tests.scsi_campaign.commands import COMPARE_AND_WRITE, ORWRITE, UNMAP, WRITE_SAME, Natural, Sent, natural, payload
from tests.scsi_campaign.effects import Placement, placements
from tests.scsi_campaign.replay import Replay
from tests.scsi_campaign.stamps import ZEROS

_NO_DIGEST: Final = bytes(16)


class Kept:
    """The frames of the kept data, which have to be those that the ledger tells of and no others."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        # What a power loss took from whom is in the ledger, too, block by block.
        self._frames = (frame for frame in frames if frame.loss is None)
        self._next = next(self._frames, None)

    def placements(self, replay: Replay, entry: Entry) -> list[Placement]:
        found: list[Placement] = []
        while self._next is not None and self._next.order == entry.order:
            by_command = not self._next.power_loss and not self._next.found
            assert by_command, f"the ledger does not tell of {self._next}"
            found.append(_placement(self._take()))
        assert self._next is None or self._next.order > entry.order, f"the ledger knows nothing of {self._next}"
        if entry.faults:
            told = entry.placed or ()
            assert [_told(entry.lun, one) for one in found] == list(told), f"frames differ from what {entry} says"
        else:
            _check_whole(entry, found)
        assert entry.changed == bool(found), entry
        return found

    def reverted(self, replay: Replay, record: Reverted) -> bytes:
        frame = self._take()
        assert (frame.order, frame.power_loss) == (record.order, True), f"{frame} where {record} should be"
        found = _placement(frame)
        assert _told(record.piece.lun, found) == record.piece
        return found.data

    def found(self, replay: Replay, record: Found) -> bytes:
        frame = self._take()
        assert (frame.order, frame.found) == (record.order, True), f"{frame} where {record} should be"
        found = _placement(frame)
        assert _told(record.piece.lun, found) == record.piece
        return found.data

    def end(self) -> None:
        """No frame is left over."""
        assert self._next is None, f"the ledger knows nothing of {self._next}"

    def _take(self) -> Frame:
        frame, self._next = self._next, next(self._frames, None)
        assert frame is not None, "the kept data ends before the ledger does"
        return frame


def _placement(frame: Frame) -> Placement:
    return Placement(frame.piece.lba, bytes(frame.piece.content()), frame.piece.data is None)


def _told(lun: int, one: Placement) -> Placed:
    return Placed(lun, one.lba, len(one.data), _NO_DIGEST if one.unmapped else digest(one.data), one.unmapped)


def _check_whole(entry: Entry, found: list[Placement]) -> None:
    """Of a command that no fault struck its own record says all."""
    if not entry.changed:
        return
    if entry.opcode == UNMAP:
        assert all(
            one.unmapped and entry.lba <= one.lba and one.lba + len(one.data) // BLOCK_BYTES <= entry.lba + entry.blocks
            for one in found
        ), entry
        return
    [one] = found
    assert (one.lba, len(one.data)) == (entry.lba, entry.blocks * BLOCK_BYTES), entry
    if entry.opcode in WRITE_SAME:
        assert digest(one.data[:BLOCK_BYTES]) == entry.digest, entry
        assert one.data == one.data[:BLOCK_BYTES] * entry.blocks, entry
    else:
        assert digest(one.data) == entry.digest, entry


class Known:
    """What the initiators sent, and nothing that the target kept but its ledger; ``sent`` by order."""

    def __init__(self, sent: Mapping[int, Sent]) -> None:
        self._sent = sent

    def placements(self, replay: Replay, entry: Entry) -> list[Placement]:
        sent = self._sent[entry.order]
        if not entry.writes:
            assert not entry.placed, entry
            assert not entry.changed, entry
            return []
        needs_old = sent.opcode in (ORWRITE, COMPARE_AND_WRITE)
        before = replay.disk[sent.lba : sent.lba + sent.blocks] if needs_old else []
        old = b"".join([block.data for block in before])
        doubt = sum(block.bits for block in before)
        pieces = natural(sent, old)
        about = [replay.known[number] for number in entry.faults]
        expected = placements(
            pieces, about, len(replay.disk), lambda lba: (replay.disk[lba].data, replay.disk[lba].bits)
        )
        if doubt and sent.opcode == ORWRITE:
            expected = [one._replace(bits=one.bits + doubt) for one in expected]
        elif entry.changed or entry.status == Status.GOOD:
            _check_digest(entry, sent, pieces)
        if sent.opcode == COMPARE_AND_WRITE and not doubt:
            _check_comparison(entry, sent, old)
        return _as_told(entry, expected)

    def reverted(self, replay: Replay, record: Reverted) -> None:
        return None

    def found(self, replay: Replay, record: Found) -> None:
        return None


def _check_digest(entry: Entry, sent: Sent, pieces: list[Natural]) -> None:
    """One block of a WRITE SAME, the parameter list of an UNMAP, else what was to be written."""
    if sent.opcode in WRITE_SAME:
        data = payload(sent) or ZEROS
    elif sent.opcode == UNMAP:
        data = payload(sent)
    else:
        data = b"".join([piece.data for piece in pieces if piece.data is not None])
    assert entry.digest == (digest(data) if data else _NO_DIGEST), f"{entry}: not the data of {sent}"


def _check_comparison(entry: Entry, sent: Sent, old: bytes) -> None:
    if entry.status == Status.GOOD:
        assert digest(old) == sent.compared, f"{entry} wrote where {sent} did not find what it wanted"
    elif entry.sense == MISCOMPARE:
        assert digest(old) != sent.compared, f"{entry} found a difference and there is none: {sent}"


def _as_told(entry: Entry, expected: list[Placement]) -> list[Placement]:
    """What was to be expected, if the ledger says so; or nothing, of a command that did not end well."""
    if entry.faults:
        told = list(entry.placed or ())
        assert entry.changed == bool(told), entry
        if not told and entry.status != Status.GOOD:
            return []
        assert len(told) == len(expected), f"{entry} was to place {len(expected)} pieces"
        for piece, one in zip(told, expected, strict=True):
            assert (piece.lba, piece.length, piece.unmapped) == (one.lba, len(one.data), one.unmapped), entry
            if not one.bits and not one.unmapped:
                assert piece.digest == digest(one.data), entry
        return expected
    if not entry.changed:
        assert entry.status != Status.GOOD or not expected, f"{entry} was to change the medium"
        return []
    return expected
