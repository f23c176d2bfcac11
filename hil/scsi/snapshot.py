"""What the blocks of a medium held at one moment: copied before the first write that changes them."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from hil.scsi.medium import BLOCK_BYTES

if TYPE_CHECKING:
    from hil.scsi.medium import Medium


class Snapshot:
    """Of now. Takes room in a nameless file beside the medium's, and a bit of memory per block."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._saved = bytearray(-(-medium.blocks // 8))
        self._fd, path = tempfile.mkstemp(prefix=".snapshot-", dir=os.path.dirname(os.path.abspath(medium.path)))
        os.unlink(path)

    def __del__(self) -> None:
        # A command that was struck while the snapshot was in use may still read from it.
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

    def save(self, lba: int, blocks: int) -> None:
        """They are about to be overwritten. Raises ``OSError``."""
        for block in range(lba, lba + blocks):
            byte, bit = divmod(block, 8)
            if not self._saved[byte] >> bit & 1:
                os.pwrite(self._fd, self._medium.read(block, 1), block * BLOCK_BYTES)
                self._saved[byte] |= 1 << bit

    def read(self, lba: int, now: bytes) -> bytes:
        """The blocks from ``lba`` on, as they were; ``now`` is what they hold today."""
        was = bytearray(now)
        for index in range(len(now) // BLOCK_BYTES):
            byte, bit = divmod(lba + index, 8)
            if self._saved[byte] >> bit & 1:
                found = os.pread(self._fd, BLOCK_BYTES, (lba + index) * BLOCK_BYTES)
                was[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES] = found
        return bytes(was)
