"""What a power failure may take back: the volatile cache as the ledger shows it, from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from hil.scsi.volatile_cache import VERSIONS_MAX
from tests.scsi_campaign.stamps import different_bits

if TYPE_CHECKING:
    from tests.scsi_campaign.replay import Block

NOBODY: Final = -1
MAYBE_GONE: Final = -2


class Version(NamedTuple):
    """What one write of nexus ``owner`` made of a block; of ``MAYBE_GONE`` nobody knows whether it is still there."""

    block: Block
    owner: int


class CacheModel:
    """Of every block that was written and not flushed: what it held then, and what each write made of it since.

    ``loses_all``: a power failure takes all that a node has there, so what is left is known exactly. A flush that
    was aborted, and a cache that may have been full and written something back, leave that open.
    """

    def __init__(self, *, loses_all: bool) -> None:
        self.versions: dict[int, list[Version]] = {}
        self._exact = loses_all
        self._loses_all = loses_all
        self._count = 0
        self._losers: set[int] = set()

    def write(self, lba: int, before: Block, block: Block, owner: int) -> None:
        """``block`` is at ``lba`` now."""
        self.versions.setdefault(lba, [Version(before, NOBODY)]).append(Version(block, owner))
        self._count += 1
        if self._count > VERSIONS_MAX // 2:  # a version that is a block's first counts, too
            self._exact = False

    def flush(self, lbas: Iterable[int]) -> None:
        """These are stable."""
        for lba in lbas:
            self.versions.pop(lba, None)

    def flush_all(self) -> None:
        """Everything is."""
        self.versions.clear()
        self._count = 0
        self._exact = self._loses_all

    def power_lost(self, nexus: int) -> None:
        """One of those that lose power now."""
        self._losers.add(nexus)

    def revert(self, lba: int, fits: Callable[[Block], bool]) -> Block:
        """To what the block went back. Fails when nothing that it held fits, or somebody else's write was lost.

        Of several versions with flipped bits nobody can say which it is: as many bits may differ as are between them.
        """
        versions = self.versions.get(lba, [])
        found = [index for index, version in enumerate(versions) if fits(version.block)]
        found = found or [index for index, version in enumerate(versions) if version.block.bits]
        assert found, f"block {lba} went back to something that it did not hold since the last flush"
        kept = [index for index, version in enumerate(versions) if version.owner not in self._losers | {MAYBE_GONE}]
        assert not kept or kept[-1] <= found[-1], f"block {lba} lost {versions[kept[-1]]}, whose node had power"
        possible = [index for index in found if not kept or index >= kept[-1]]
        data = versions[found[-1]].block.data
        bits = max(different_bits(data, one.data) + one.bits for one in [versions[index].block for index in possible])
        block = versions[found[-1]].block._replace(bits=bits)
        if not self._exact:
            certain, doubtful = versions[: possible[0] + 1], versions[possible[0] + 1 : found[-1] + 1]
            versions[:] = certain + [version._replace(owner=MAYBE_GONE) for version in doubtful]
            versions[-1] = versions[-1]._replace(block=block)
        return block

    def settle(self, now: Callable[[int], Block]) -> None:
        """A power failure is over: of what the losers had written nothing is left, if that can be told."""
        if not self._losers:
            return
        if self._exact:
            for lba, versions in self.versions.items():
                left = [version for version in versions if version.owner not in self._losers]
                block = left[-1].block
                assert block.bits or now(lba).data == block.data, f"block {lba} is not what {left[-1]} made of it"
                versions[:] = left
        self._losers.clear()
