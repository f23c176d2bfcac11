"""What a medium holds that its kept data does not know of, looked for when a target begins.

A target that is killed leaves on the medium what it had executed and not recorded yet: at most what was under way, and
never answered. The next one takes it down as found, so base and frames are the medium again.
"""

from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING, Final

from hil.errors import UsageError
from hil.scsi.kept_data import base_path, read_frames
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.placement import Piece
from hil.scsi.sparse_copy import sparse_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hil.scsi.ledger import Ledger
    from hil.scsi.medium import Medium

_AT_ONCE: Final = 1024 * 1024


def take_down_found(ledger: Ledger, data: str, lun: int, medium: Medium) -> None:
    """Takes as long as reading the kept data and the medium does. Raises ``UsageError``, ``LedgerLost``."""
    fd, path = tempfile.mkstemp(prefix=".found-data-", dir=os.path.dirname(os.path.abspath(data)))
    try:
        _rebuild(fd, path, data, lun)
        for piece in _differences(fd, medium):
            ledger.found(lun, piece)
            ledger.flush()
    except OSError as error:
        raise UsageError(f"kept data {data} cannot be compared with {medium.path}: {error.strerror}") from None
    finally:
        os.close(fd)


def _rebuild(fd: int, path: str, data: str, lun: int) -> None:
    """The medium as the kept data has it, in a file that soon has no name."""
    try:
        sparse_copy(base_path(data, lun), path)
    finally:
        os.unlink(path)
    for frame in read_frames(data):
        if frame.lun == lun:
            os.pwrite(fd, frame.piece.content(), frame.piece.lba * BLOCK_BYTES)


def _differences(fd: int, medium: Medium) -> Iterator[Piece]:
    """Runs of blocks with what the medium has there."""
    size = medium.blocks * BLOCK_BYTES
    offset = 0
    while (offset := min(_next_data(fd, offset, size), _next_data(medium.fd, offset, size))) < size:
        offset -= offset % BLOCK_BYTES
        length = min(_AT_ONCE, size - offset)
        kept = os.pread(fd, length, offset).ljust(length, b"\0")
        found = os.pread(medium.fd, length, offset)
        if kept != found:
            yield from _runs(kept, found, offset // BLOCK_BYTES)
        offset += length


def _next_data(fd: int, offset: int, size: int) -> int:
    """From ``offset`` on, what is before is in a hole; ``size`` when all is."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size


def _runs(kept: bytes, found: bytes, lba: int) -> Iterator[Piece]:
    start = None
    for offset in range(0, len(found) + BLOCK_BYTES, BLOCK_BYTES):
        differs = kept[offset : offset + BLOCK_BYTES] != found[offset : offset + BLOCK_BYTES]
        if differs and start is None:
            start = offset
        elif not differs and start is not None:
            yield Piece(lba + start // BLOCK_BYTES, found[start:offset], offset - start)
            start = None
