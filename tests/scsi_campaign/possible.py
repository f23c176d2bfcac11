"""What a block may hold after a kill: what the ledger says, or what commands that nobody answered would have made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, product
from typing import Any, Final

from tests.scsi_campaign.commands import ORWRITE, Natural, Sent, natural
from tests.scsi_campaign.effects import EFFECTS, placements
from tests.scsi_campaign.replay import Block
from tests.scsi_campaign.stamps import different_bits, split

_OPTIONS_MAX: Final = 64

IsFor = Callable[[Mapping[str, Any], Sent], bool]


class Possible:
    """``unanswered`` may have been executed, each or not, in any order; ``faults`` may have struck them, each or not.

    ``disk`` is what the ledger says.
    """

    def __init__(
        self, disk: Sequence[Block], unanswered: Sequence[Sent], faults: Sequence[Mapping[str, Any]], is_for: IsFor
    ) -> None:
        self._disk = disk
        self._blocks: dict[int, list[Block]] = {}
        about_data = [fault for fault in faults if fault["fault"] in EFFECTS]
        for _ in unanswered:  # a command may have found what another one left, and so on: each was executed once
            known = self._count()
            for sent in unanswered:
                for struck in _subsets([fault for fault in about_data if is_for(fault, sent)]):
                    self._add(sent, struck)
            if self._count() == known:
                break

    def at(self, lba: int) -> list[Block]:
        """Every content that the block may have."""
        return self._blocks.get(lba) or [self._disk[lba]]

    def has(self, lba: int, found: bytes) -> bool:
        """Whether it may be this."""
        return any(
            block.data == found or (block.bits and different_bits(block.data, found) <= block.bits)
            for block in self.at(lba)
        )

    def _count(self) -> int:
        return sum(map(len, self._blocks.values()))

    def _add(self, sent: Sent, struck: Sequence[Mapping[str, Any]]) -> None:
        """Blocks do not depend on one another, so it is enough that each of their contents comes up once."""
        extent = range(sent.lba, sent.lba + sent.blocks) if sent.opcode == ORWRITE else ()
        options = max((len(self.at(lba)) for lba in extent), default=1)
        left = 1
        if any(fault["fault"] == "torn" for fault in struck):  # which leaves a part of some block as it was
            left = max((len(known) for known in self._blocks.values()), default=1)
        for option, rest in product(range(min(options, _OPTIONS_MAX)), range(min(left, _OPTIONS_MAX))):
            old = [self._option(option, lba) for lba in extent]
            doubt = sum(block.bits for block in old)
            pieces: list[Natural] = natural(sent, b"".join(block.data for block in old))
            held = partial(self._held, rest)
            for placement in placements(pieces, struck, len(self._disk), held):
                for index, data in enumerate(split(placement.data)):
                    self._may_be(placement.lba + index, Block(data, sent.order, placement.bits + doubt))

    def _option(self, option: int, lba: int) -> Block:
        known = self.at(lba)
        return known[option % len(known)]

    def _held(self, option: int, lba: int) -> tuple[bytes, int]:
        block = self._option(option, lba)
        return block.data, block.bits

    def _may_be(self, lba: int, block: Block) -> None:
        known = self._blocks.setdefault(lba, [self._disk[lba]])
        if block not in known:
            known.append(block)


def _subsets(faults: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for size in range(len(faults) + 1):
        yield from combinations(faults, size)
