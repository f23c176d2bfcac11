"""The disk as a power failure at any command would have left it (from ``--ledger`` and ``--keep-data``).

At a command of the ledger, everything that was flushed by then is on the medium: by SYNCHRONIZE CACHE, by FUA, by WRITE
AND VERIFY. Of what was written and not flushed a power failure leaves all, nothing, or any part, block by block; a
program that relies on more than was flushed shows it in one of these states. The ledger says which
commands did flush, so one that a fault swallowed (``lost``) does not count, and one that was executed and not answered
does. All nodes lose power here. (CrashMonkey does this for file systems.)
"""

from __future__ import annotations

import os
import random
import tempfile
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from hil.errors import UsageError
from hil.scsi.kept_data import Frame, base_path, read_frames, read_header
from hil.scsi.ledger_reader import read_all
from hil.scsi.ledger_records import BLOCKS_MAX, Entry
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.sparse_copy import sparse_copy
from hil.scsi.volatile_cache import VolatileCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

_UNKNOWN: Final = -1  # whoever wrote what was found: no node that loses power later


class Unflushed(StrEnum):
    """What becomes of data that was written and not flushed."""

    LOST = "lost"
    KEPT = "kept"
    RANDOM = "random"


class CrashState:
    """Right after command ``order`` took effect. Valid until the next one is asked for, or ``CrashStates`` ends."""

    def __init__(self, order: int, entry: Entry | None, visible: int, cache: VolatileCache, blocks: int) -> None:
        self.order = order
        self.entry = entry
        self.blocks = blocks
        self._visible = visible
        self._cache = cache

    @property
    def unflushed_blocks(self) -> int:
        """How many blocks a power failure now could change."""
        return len(self._cache.blocks)

    def read(self, lba: int, blocks: int, unflushed: Unflushed = Unflushed.LOST, seed: int = 0) -> bytes:
        """What these blocks hold after a power failure; the same seed gives the same for every block."""
        found = bytearray(os.pread(self._visible, blocks * BLOCK_BYTES, lba * BLOCK_BYTES))
        for index in range(blocks):
            content = self._content(lba + index, unflushed, seed)
            if content is not None:
                found[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES] = content
        return bytes(found)

    def write_to(self, path: str | PathLike[str], unflushed: Unflushed = Unflushed.LOST, seed: int = 0) -> None:
        """The whole disk as a sparse file. Raises ``OSError``."""
        sparse_copy(f"/proc/self/fd/{self._visible}", os.fspath(path))
        with open(path, "r+b", buffering=0) as file:
            for lba in sorted(self._cache.blocks):
                content = self._content(lba, unflushed, seed)
                if content is not None:
                    os.pwrite(file.fileno(), content, lba * BLOCK_BYTES)

    def _content(self, lba: int, unflushed: Unflushed, seed: int) -> bytes | None:
        """None: as it is seen now."""
        versions = self._cache.blocks.get(lba)
        if versions is None or unflushed is Unflushed.KEPT:
            return None
        if unflushed is Unflushed.LOST:
            return versions[0].content
        # A generator per block, so that the choice does not depend on which blocks are asked for, nor in what order.
        return random.Random(f"{seed} {self.order} {lba}").choice(versions).content


class CrashStates:
    """Every crash state of ``lun``, in order; a context manager, for the nameless file that it works in.

    In memory: every version of a block since its last flush, so of a run that never flushes all that it wrote.
    Raises ``UsageError`` when data was not kept, ``NotALedger`` and ``NotKeptData`` for files that are something else.
    """

    def __init__(self, ledger: str | PathLike[str], data: str | PathLike[str], lun: int = 0) -> None:
        self._base = base_path(data, lun)
        for path in (ledger, data, self._base):
            if not Path(path).is_file():
                raise UsageError(f"{os.fspath(path)} is missing: run with kept data (hil up --keep-data)")
        self._ledger, self._data, self._lun = ledger, data, lun
        self._first = read_header(data).order_first
        self._open: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            os.close(self._open.pop())

    def at(self, order: int) -> CrashState:
        """After command ``order``. Raises ``UsageError`` for one that is not in the ledger, or before the kept data."""
        if order < self._first:
            raise UsageError(f"command {order} came before the kept data began: from {self._first} on there are states")
        last = -1
        for state in self:
            if state.order == order:
                return state
            last = state.order
        raise UsageError(
            f"command {order} is not in the ledger: {self._first} to {last} are, for LUN {self._lun} or any other"
        )

    def __iter__(self) -> Iterator[CrashState]:
        """After each command that is in the ledger now, from where data is kept, whether it changed anything or not."""
        visible, path = tempfile.mkstemp(prefix=".crash-states-", dir=os.path.dirname(self._base) or ".")
        self._open.append(visible)
        try:
            sparse_copy(self._base, path)
        finally:
            os.unlink(path)
        yield from self._states(visible)

    def _states(self, visible: int) -> Iterator[CrashState]:
        # Of a target that runs: what came after this moment may lack its frames, as those are read ahead of it.
        ledger_bytes = os.path.getsize(self._ledger)
        cache = VolatileCache(versions_max=None)
        blocks = os.fstat(visible).st_size // BLOCK_BYTES
        frames = groupby(
            (frame for frame in read_frames(self._data) if frame.lun == self._lun), key=lambda frame: frame.order
        )
        number, pieces = next(frames, (None, iter(())))
        for record in read_all(self._ledger, ledger_bytes):
            if not isinstance(record, Entry) or record.order < self._first:
                continue
            if number == record.order:
                for frame in list(pieces):
                    _apply(frame, visible, cache, record.nexus.number, durable=record.flushed)
                number, pieces = next(frames, (None, iter(())))
            if record.lun == self._lun and record.flushed and not record.writes:
                cache.flush(record.lba, blocks if record.blocks == BLOCKS_MAX else record.blocks)
            yield CrashState(record.order, record, visible, cache, blocks)


def _apply(frame: Frame, visible: int, cache: VolatileCache, owner: int, *, durable: bool) -> None:
    if frame.loss is not None:
        cache.lose(frame.loss.losers, frame.loss.survived)
        return
    piece = frame.piece
    offset = piece.lba * BLOCK_BYTES
    content = bytes(piece.content())
    before = os.pread(visible, piece.length, offset)
    os.pwrite(visible, content, offset)
    if frame.power_loss:  # the cache knows by the loss before it
        return
    cache.write(_UNKNOWN if frame.found else owner, piece.lba, before, content)
    if durable and not frame.found:
        cache.flush(piece.lba, piece.blocks)
