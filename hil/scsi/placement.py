"""How data gets onto the medium when somebody looks: faults change it, a cache and snapshots are kept, it is noted.

``extent`` takes the short way, straight to the medium, when nobody does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hil.scsi.medium import BLOCK_BYTES
from hil.scsi.operation import Direction
from hil.scsi.sense import MEDIUM_READ_ERROR, MEDIUM_WRITE_ERROR, Refused

if TYPE_CHECKING:
    from hil.scsi.command import Command
    from hil.scsi.unit import LogicalUnit


class Piece(NamedTuple):
    """``length`` bytes from block ``lba`` on. ``data`` None: unmapped, they read as zeros."""

    lba: int
    data: bytes | bytearray | memoryview | None
    length: int

    @property
    def blocks(self) -> int:
        """How many it touches, the last one maybe in part."""
        return -(-self.length // BLOCK_BYTES)

    def content(self) -> bytes | bytearray | memoryview:
        """Its bytes."""
        return bytes(self.length) if self.data is None else self.data


def place(unit: LogicalUnit, command: Command, piece: Piece) -> None:
    """Writes or unmaps ``piece`` as the command's faults let it; ``command.placed`` has what reached the medium.

    Raises ``Refused`` when the host cannot write; what had reached the medium by then is noted.
    """
    pieces, offset = [piece], command.offered
    command.offered += piece.length
    for fault in command.faults:
        if fault.kind.place is not None:
            pieces = [made for one in pieces for made in fault.kind.place(fault, unit, one, offset)]
    if command.placed is None:
        command.placed = []
    for one in pieces:
        _place(unit, command, one)


def _place(unit: LogicalUnit, command: Command, piece: Piece) -> None:
    lba, blocks = piece.lba, piece.blocks
    try:
        before = unit.prepare(lba, blocks)
        data = piece.data
        if data is not None and piece.length % BLOCK_BYTES:  # torn within a sector: the rest of it stays
            last = unit.medium.read(lba + blocks - 1, 1)
            data = bytes(data) + last[piece.length % BLOCK_BYTES :]
        if data is None:
            unit.medium.unmap(lba, blocks)
            written = blocks * BLOCK_BYTES
        else:
            written = unit.medium.write(lba, data)
    except OSError:
        raise Refused(MEDIUM_WRITE_ERROR, lba) from None
    whole = written // BLOCK_BYTES * BLOCK_BYTES
    done = Piece(lba, None if data is None else bytes(data[:whole]), whole)
    if whole:
        command.changed = True
        assert command.placed is not None
        command.placed.append(done)
        unit.written(command.nexus.index, done, before)
    if written < blocks * BLOCK_BYTES:
        raise Refused(MEDIUM_WRITE_ERROR, lba + written // BLOCK_BYTES)


def reread(unit: LogicalUnit, command: Command, lba: int, found: bytes) -> bytes:
    """What was read, as the command's faults show it. Raises ``Refused`` when the host cannot read."""
    try:
        for fault in command.faults:
            if fault.kind.read is not None and command.direction is Direction.READ:
                found = fault.kind.read(fault, unit, lba, found)
    except OSError:
        raise Refused(MEDIUM_READ_ERROR, lba) from None
    return found
