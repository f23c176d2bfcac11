"""What the blocks of a medium held at one moment: copied before the first write that changes them."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Final

from hil.scsi.medium import BLOCK_BYTES

if TYPE_CHECKING:
    from hil.scsi.medium import Medium

_CHUNK_BITS: Final = 10


class Snapshot:
    """Of now. Takes room in a nameless file beside the medium's, and a bit of memory per block written since."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._saved: dict[int, int] = {}  # number of a chunk of blocks to a bit for each of them
        self._fd, path = tempfile.mkstemp(prefix=".snapshot-", dir=os.path.dirname(os.path.abspath(medium.path)))
        os.unlink(path)

    def __del__(self) -> None:
        # A command that was struck while the snapshot was in use may still read from it.
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

    def save(self, lba: int, blocks: int) -> None:
        """They are about to be overwritten. Raises ``OSError``."""
        start = lba
        for block in range(lba, lba + blocks):
            if self._is_saved(block):
                self._copy(start, block)
                start = block + 1
        self._copy(start, lba + blocks)

    def read(self, lba: int, now: bytes) -> bytes:
        """The blocks from ``lba`` on, as they were; ``now`` is what they hold today."""
        was = bytearray(now)
        for index in range(len(now) // BLOCK_BYTES):
            if self._is_saved(lba + index):
                found = os.pread(self._fd, BLOCK_BYTES, (lba + index) * BLOCK_BYTES)
                was[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES] = found
        return bytes(was)

    def _is_saved(self, block: int) -> bool:
        chunk, bit = block >> _CHUNK_BITS, block & (1 << _CHUNK_BITS) - 1
        return bool(self._saved.get(chunk, 0) >> bit & 1)

    def _copy(self, start: int, end: int) -> None:
        """Of blocks that are not saved yet."""
        if start < end:
            os.pwrite(self._fd, self._medium.read(start, end - start), start * BLOCK_BYTES)
        while start < end:
            chunk, first = start >> _CHUNK_BITS, start & (1 << _CHUNK_BITS) - 1
            count = min(end - start, (1 << _CHUNK_BITS) - first)
            self._saved[chunk] = self._saved.get(chunk, 0) | (1 << count) - 1 << first
            start += count
