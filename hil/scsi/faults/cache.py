"""The kind volatile-cache: what was written and not flushed is lost by the nodes that lose power."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.placement import Piece
from hil.scsi.volatile_cache import VolatileCache

if TYPE_CHECKING:
    from collections.abc import Collection

    from hil.scsi.faults.fault import Fault
    from hil.scsi.unit import LogicalUnit


def begin_cache(fault: Fault, units: list[LogicalUnit]) -> None:
    """From now on writes wait in a cache."""
    for unit in units:
        unit.set_cache(VolatileCache())


def end_cache(fault: Fault, units: list[LogicalUnit]) -> None:
    """All that is in the cache gets to the medium."""
    for unit in units:
        unit.set_cache(None)


class PowerFailure(NamedTuple):
    """``changed``: blocks that are different by it. ``fates``: as in ``kept_data.PowerLoss``.

    ``error``: the host could not write some blocks; they kept what they had.
    """

    changed: list[Piece]
    fates: dict[int, bytes]
    error: OSError | None


def power_failure(unit: LogicalUnit, fault: Fault, owners: Collection[int]) -> PowerFailure:
    """What the nexuses with these numbers left in the cache is lost, or not, as the fault says."""
    if unit.cache is None:
        return PowerFailure([], {}, None)
    random = fault.values["lose"] == "random"
    fates: dict[int, bytearray] = {}

    def survives(lba: int, newer: int) -> bool:
        answer = random and fault.random.random() < 0.5
        fates.setdefault(lba, bytearray()).append(answer)
        return answer

    pieces: list[Piece] = []
    failed = None
    for lba, content in unit.cache.lose(owners, survives).items():
        piece = Piece(lba, content, BLOCK_BYTES)
        try:
            unit.prepare(lba, 1)
            if unit.medium.write(lba, content) != BLOCK_BYTES:
                raise OSError(errno.EIO, "a block was written in part")
            pieces.append(piece)
        except OSError as error:  # the block keeps its newest content, which was theirs: so that one survived
            failed = failed or error
            unit.cache.flush(lba, 1)
            fates[lba] = bytearray(b"\1" * len(fates[lba]))
    return PowerFailure(pieces, {lba: bytes(fate) for lba, fate in fates.items()}, failed)
