"""The units of the target under test: files with a guard behind each unit, and what may have changed in them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

import xxhash

from hil.scsi.digest import digest
from hil.scsi.ledger_records import Entry, Placed, Reverted
from hil.scsi.medium import BLOCK_BYTES, Medium
from tests.fuzz.choices import POOL_BYTES_MAX, Seeded
from tests.fuzz.spans import Spans
from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hil.scsi.ledger import Record

_GUARD_BYTES: Final = 128 * 1024
_GUARD: Final = Seeded(1).content(_GUARD_BYTES)
_WRITE_SAME: Final = (0x41, 0x93)
_UNMAP: Final = 0x42
_SPAN_MAX: Final = 2**32 - 1  # as much as 32 bits can say of it, or more
_EVERYTHING: Final = 2**62


class UnitFile:
    """The file behind a unit of ``size_bytes``: longer than the unit, so that a write beyond it would be seen.

    The first ``filled_bytes`` have contents that no write makes twice, the rest is a hole.
    """

    def __init__(self, path: Path, size_bytes: int, filled_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self._filled = Seeded(2).content(min(filled_bytes, POOL_BYTES_MAX))

    def fresh(self) -> Medium:
        """As at the beginning."""
        with self.path.open("wb") as file:
            file.write(self._filled)
            file.seek(self.size_bytes)
            file.write(_GUARD)
        return Medium(str(self.path), self.size_bytes)

    def check(self, changes: list[Change]) -> None:
        """Nothing has changed but by ``changes``, in their order. Raises ``Wrong``."""
        with self.path.open("rb") as file:
            fd = file.fileno()
            size = os.fstat(fd).st_size
            if size != self.size_bytes + _GUARD_BYTES:
                raise Wrong(f"{self.path.name} has {size} bytes, {self.size_bytes + _GUARD_BYTES} before")
            if os.pread(fd, _GUARD_BYTES, self.size_bytes) != _GUARD:
                raise Wrong(f"{self.path.name}: what is behind the unit has changed")
            self._check_changed(fd, changes)
            _check_contents(fd, changes)

    def _check_changed(self, fd: int, changes: list[Change]) -> None:
        """Every changed block is of an extent that is said to have changed."""
        named = Spans()
        for change in changes:
            named.add(change.start, change.end)
        for lba in self._changed_blocks(fd):
            if lba not in named:
                raise Wrong(f"{self.path.name}: block {lba} has changed, and the ledger does not say so")

    def _changed_blocks(self, fd: int) -> Iterable[int]:
        for start, end in _data_extents(fd, self.size_bytes):
            for at in range(start, end, POOL_BYTES_MAX):
                found = os.pread(fd, min(POOL_BYTES_MAX, end - at), at)
                before = self._filled[at : at + len(found)].ljust(len(found), b"\0")
                if found == before:
                    continue
                for offset in range(0, len(found), BLOCK_BYTES):
                    if found[offset : offset + BLOCK_BYTES] != before[offset : offset + BLOCK_BYTES]:
                        yield (at + offset) // BLOCK_BYTES
        # What was filled and is a hole now.
        for start, end in _holes(fd, len(self._filled)):
            yield from range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES))


class Change(NamedTuple):
    """Blocks ``start`` to before ``end`` were changed. ``digest`` of what is there then; None: not known.

    ``whole``: the digest is of all of them; else of some blocks at the beginning, for an initiator may send less than
    its command says. ``same``: of one block, which is there over and over.
    """

    start: int
    end: int
    digest: bytes | None
    whole: bool = True
    same: bool = False


def changes(record: Record, lun: int) -> list[Change]:
    """What ``record`` says to have changed of ``lun``: where faults struck, that is what was placed."""
    if isinstance(record, Reverted) and record.piece.lun == lun:
        return [_placed(record.piece)]
    if not isinstance(record, Entry) or record.lun != lun:
        return []
    if record.placed is not None:
        return [_placed(piece) for piece in record.placed]
    if not record.changed:
        return []
    end = record.lba + (record.blocks if record.blocks != _SPAN_MAX else _EVERYTHING)
    found = None if record.opcode == _UNMAP else record.digest
    return [Change(record.lba, end, found, whole=False, same=record.opcode in _WRITE_SAME)]


def _placed(piece: Placed) -> Change:
    end = piece.lba + piece.length // BLOCK_BYTES
    return Change(piece.lba, end, None if piece.unmapped else piece.digest)


def _check_contents(fd: int, changes: list[Change]) -> None:
    """What the last one put into an extent is there, by its digest."""
    later = Spans()
    for change in reversed(changes):
        if change.digest is not None and not later.overlaps(change.start, change.end):
            length = (1 if change.same else change.end - change.start) * BLOCK_BYTES
            found = os.pread(fd, length, change.start * BLOCK_BYTES)
            there = digest(found) == change.digest if change.whole else _begins_with(found, change.digest)
            if not there or (change.same and os.pread(fd, BLOCK_BYTES, (change.end - 1) * BLOCK_BYTES) != found):
                raise Wrong(f"what was written is not there: {change}")
        later.add(change.start, change.end)


def _begins_with(found: bytes, wanted: bytes) -> bool:
    running = xxhash.xxh3_128()
    for offset in range(0, len(found), BLOCK_BYTES):
        running.update(found[offset : offset + BLOCK_BYTES])
        if running.digest() == wanted:
            return True
    return False


def _data_extents(fd: int, end: int) -> Iterable[tuple[int, int]]:
    at = 0
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # a hole up to the end
            return
        hole = os.lseek(fd, at, os.SEEK_HOLE)
        if at < end:
            yield at, min(hole, end)
        at = hole


def _holes(fd: int, end: int) -> Iterable[tuple[int, int]]:
    at = 0
    for start, after in _data_extents(fd, end):
        if at < start:
            yield at, start
        at = after
    if at < end:
        yield at, end
