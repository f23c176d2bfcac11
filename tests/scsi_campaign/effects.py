"""What faults about data make of what a command is to place: worked out again from what the kinds promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from hil.scsi.medium import BLOCK_BYTES
from tests.scsi_campaign.commands import Natural


class Part(NamedTuple):
    """``length`` bytes on their way to ``lba``; ``data`` None: to be unmapped. ``bits`` of them may be flipped."""

    lba: int
    data: bytes | None
    length: int
    bits: int = 0
    offset: int = 0  # so many bytes of the command's data come before it

    def content(self) -> bytes:
        return bytes(self.length) if self.data is None else self.data


class Placement(NamedTuple):
    """Whole blocks that are on the medium now; up to ``bits`` are not as ``data`` has them."""

    lba: int
    data: bytes
    unmapped: bool
    bits: int = 0


def _torn(part: Part, parameters: Mapping[str, Any], blocks: int) -> Part | None:
    kept: int = max(0, parameters["sectors"] * BLOCK_BYTES + parameters["bytes"] - part.offset)
    if kept >= part.length:
        return part
    return part._replace(data=part.content()[:kept], length=kept) if kept else None


def _lost(part: Part, parameters: Mapping[str, Any], blocks: int) -> Part | None:
    return None


def _misdirected(part: Part, parameters: Mapping[str, Any], blocks: int) -> Part | None:
    places = blocks + 1 - -(-part.length // BLOCK_BYTES)
    lba = (part.lba + parameters["shift"]) % places
    return part._replace(lba=lba if lba != part.lba else (lba + 1) % places)


def _flip(part: Part, parameters: Mapping[str, Any], blocks: int) -> Part | None:
    if part.offset:  # bits flip in the first piece of a command
        return part
    return part._replace(data=part.content(), bits=part.bits + parameters["bits"])


EFFECTS: Final[dict[str, Callable[[Part, Mapping[str, Any], int], Part | None]]] = {
    "torn": _torn,
    "lost": _lost,
    "misdirected": _misdirected,
    "flip": _flip,
}


def placements(
    natural: Sequence[Natural],
    faults: Sequence[Mapping[str, Any]],
    blocks: int,
    held: Callable[[int], tuple[bytes, int]],
) -> list[Placement]:
    """What ``faults``, as the ledger describes them and in its order, leave of a command.

    ``held`` tells what a block holds before, and how many of its bits that may be wrong about.
    """
    found: list[Placement] = []
    offset = 0
    for piece in natural:
        part: Part | None = Part(piece.lba, piece.data, piece.blocks * BLOCK_BYTES, offset=offset)
        offset += piece.blocks * BLOCK_BYTES
        for fault in faults:
            effect = EFFECTS.get(fault["fault"])
            if part is not None and effect is not None:
                part = effect(part, fault["parameters"], blocks)
        if part is not None and part.length:
            found.append(_placed(part, found, held))
    return found


def _placed(part: Part, before: Sequence[Placement], held: Callable[[int], tuple[bytes, int]]) -> Placement:
    """The rest of a sector in which the data ends stays as it was."""
    data, bits = part.content(), part.bits
    over = len(data) % BLOCK_BYTES
    if over:
        last = part.lba + len(data) // BLOCK_BYTES
        old, old_bits = _now(last, before, held)
        data += old[over:]
        bits += old_bits
    return Placement(part.lba, data, part.data is None, bits)


def _now(lba: int, before: Sequence[Placement], held: Callable[[int], tuple[bytes, int]]) -> tuple[bytes, int]:
    """What earlier pieces of the same command made of the block counts."""
    for placement in reversed(before):
        start = (lba - placement.lba) * BLOCK_BYTES
        if 0 <= start < len(placement.data):
            return placement.data[start : start + BLOCK_BYTES], placement.bits
    return held(lba)
