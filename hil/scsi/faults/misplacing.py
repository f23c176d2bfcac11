"""Kinds of fault about data on its way to the medium or from it: torn, lost, misdirected, flip, stale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.scsi.command import DONE, Command, Outcome
from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.operation import Direction
from hil.scsi.placement import Piece
from hil.scsi.snapshot import Snapshot

if TYPE_CHECKING:
    from hil.scsi.faults.fault import Fault, Run
    from hil.scsi.faults.table import FaultTable
    from hil.scsi.unit import LogicalUnit


def tear(fault: Fault, unit: LogicalUnit, piece: Piece, offset: int) -> list[Piece]:
    """The first sectors, and maybe bytes of the next: what follows in that sector stays as it was."""
    kept = max(0, fault.number_of("sectors") * BLOCK_BYTES + fault.number_of("bytes") - offset)
    if kept >= piece.length:
        return [piece]
    return [Piece(piece.lba, bytes(piece.content()[:kept]), kept)] if kept else []


def lose_flush(table: FaultTable, fault: Fault, command: Command, run: Run) -> Outcome | None:
    """A SYNCHRONIZE CACHE that is answered and does nothing; writes get as far as the medium, and no farther."""
    return DONE if command.direction is Direction.FLUSH else run()


def lose(fault: Fault, unit: LogicalUnit, piece: Piece, offset: int) -> list[Piece]:
    """Nothing reaches the medium."""
    return []


def misdirect(fault: Fault, unit: LogicalUnit, piece: Piece, offset: int) -> list[Piece]:
    """Somewhere else, never outside of the unit: beyond one end comes the other."""
    places = unit.blocks - piece.blocks + 1
    lba = (piece.lba + fault.number_of("shift")) % places
    if lba == piece.lba:  # a shift of all places
        lba = (lba + 1) % places
    return [piece._replace(lba=lba)]


def flip_written(fault: Fault, unit: LogicalUnit, piece: Piece, offset: int) -> list[Piece]:
    """Bits at places that the seed tells, in the first piece of a command that has several."""
    if offset:
        return [piece]
    return [Piece(piece.lba, flip_read(fault, unit, piece.lba, bytes(piece.content())), piece.length)]


def flip_read(fault: Fault, unit: LogicalUnit, lba: int, data: bytes) -> bytes:
    """Bits at places that the seed tells; the medium keeps them as they were."""
    flipped = bytearray(data)
    for place in fault.random.sample(range(8 * len(data)), min(fault.number_of("bits"), 8 * len(data))):
        flipped[place // 8] ^= 1 << place % 8
    return bytes(flipped)


def begin_stale(fault: Fault, units: list[LogicalUnit]) -> None:
    """From now on it is kept what the blocks held now."""
    snapshots = {unit.lun: Snapshot(unit.medium) for unit in units}
    fault.state = {unit.lun: unit.add_snapshot(snapshots[unit.lun]) for unit in units}


def end_stale(fault: Fault, units: list[LogicalUnit]) -> None:
    """The snapshots are not needed any more."""
    for unit in units:
        unit.remove_snapshot(fault.state[unit.lun])


def read_stale(fault: Fault, unit: LogicalUnit, lba: int, data: bytes) -> bytes:
    """As the blocks were when the fault was injected; of several such faults, the one that was injected last."""
    now = unit.medium.read(lba, len(data) // BLOCK_BYTES)  # what an earlier one has put in their place is none of it
    found: bytes = fault.state[unit.lun].read(lba, now)
    return found
