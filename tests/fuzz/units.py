"""The units of the target under test: files with a guard behind each unit, and what may have changed in them."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from hil.scsi.ledger import DIGEST_BYTES
from hil.scsi.medium import BLOCK_BYTES, Medium
from tests.fuzz.choices import POOL_BYTES_MAX, Seeded
from tests.fuzz.spans import Spans
from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hil.scsi.ledger import Entry

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

    def check(self, entries: list[Entry], *, exact: bool) -> None:
        """Nothing has changed but what ``entries``, all commands at this unit, say.

        Not ``exact``: faults may have changed blocks that no entry names. Raises ``Wrong``.
        """
        with self.path.open("rb") as file:
            fd = file.fileno()
            size = os.fstat(fd).st_size
            if size != self.size_bytes + _GUARD_BYTES:
                raise Wrong(f"{self.path.name} has {size} bytes, {self.size_bytes + _GUARD_BYTES} before")
            if os.pread(fd, _GUARD_BYTES, self.size_bytes) != _GUARD:
                raise Wrong(f"{self.path.name}: what is behind the unit has changed")
            if exact:
                self._check_changed(fd, entries)
                _check_contents(fd, entries)

    def _check_changed(self, fd: int, entries: list[Entry]) -> None:
        """Every changed block is of an extent that some entry says to have changed."""
        named = Spans()
        for entry in entries:
            if entry.changed:
                named.add(entry.lba, _end(entry))
        for lba in self._changed_blocks(fd):
            if lba not in named:
                raise Wrong(f"{self.path.name}: block {lba} has changed, and no entry of the ledger says so")

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


def _end(entry: Entry) -> int:
    """The block after the last that the command was about."""
    return entry.lba + (entry.blocks if entry.blocks != _SPAN_MAX else _EVERYTHING)


def _check_contents(fd: int, entries: list[Entry]) -> None:
    """What the last writer of an extent sent is there, by its digest."""
    later = Spans()
    for entry in reversed(entries):
        if not entry.changed:
            continue
        start, end = entry.lba, _end(entry)
        if entry.opcode != _UNMAP and not later.overlaps(start, end):
            if entry.opcode in _WRITE_SAME:
                _check_same(fd, entry)
            elif not _begins_with(os.pread(fd, entry.blocks * BLOCK_BYTES, start * BLOCK_BYTES), entry.digest):
                raise Wrong(f"what was written is not there: {entry}")
        later.add(start, end)


def _begins_with(found: bytes, digest: bytes) -> bool:
    """Some whole blocks at the beginning have this digest: an initiator may send less than its command says."""
    running = blake2b(digest_size=DIGEST_BYTES)
    for offset in range(0, len(found), BLOCK_BYTES):
        running.update(found[offset : offset + BLOCK_BYTES])
        if running.copy().digest() == digest:
            return True
    return False


def _check_same(fd: int, entry: Entry) -> None:
    block = os.pread(fd, BLOCK_BYTES, entry.lba * BLOCK_BYTES)
    last = os.pread(fd, BLOCK_BYTES, (entry.lba + entry.blocks - 1) * BLOCK_BYTES)
    if blake2b(block, digest_size=DIGEST_BYTES).digest() != entry.digest or block != last:
        raise Wrong(f"what was to be written over and over is not there: {entry}")


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
