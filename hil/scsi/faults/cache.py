"""The kind volatile-cache: what was written and not flushed is lost by the nodes that lose power."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def power_failure(unit: LogicalUnit, fault: Fault, owners: Collection[int]) -> list[Piece]:
    """What the nexuses with these numbers left in the cache is lost, or not, as the fault says; what changed by it.

    Raises ``OSError``.
    """
    if unit.cache is None:
        return []
    random = fault.values["lose"] == "random"
    changed = unit.cache.lose(owners, lambda: random and fault.random.random() < 0.5)
    pieces = [Piece(lba, content, BLOCK_BYTES) for lba, content in changed.items()]
    for piece in pieces:
        unit.prepare(piece.lba, 1)
        unit.medium.write(piece.lba, piece.content())
    return pieces
