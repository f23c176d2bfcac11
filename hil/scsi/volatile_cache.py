"""A disk's volatile write cache: which contents each block may have after a power failure (SBC-3 4.15).

Pure. For every block that was written and not flushed there is its stable content and one version per write after it,
in order. A flush makes the newest version the stable one. A power failure takes versions away; the newest that is left
is what the block holds then. Somebody who always reads through the cache sees the newest version.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from hil.scsi.medium import BLOCK_BYTES

VERSIONS_MAX: Final = 64 * 1024
"""32 MiB of data, some 45 MiB of memory; a disk's own cache has about that."""


Survives = Callable[[int, int], bool]
"""Asked for a version that is to be lost: the LBA, and how many newer versions of it are to be lost, too."""


class Version(NamedTuple):
    """What one write made of a block. ``owner`` None: nobody who could lose it."""

    owner: int | None
    content: bytes


class VolatileCache:
    """``blocks``: LBA to versions, the stable one first; blocks in the order in which they became dirty.

    With more than ``versions_max`` versions the blocks that have been dirty longest are written back, as caches do.
    """

    def __init__(self, versions_max: int | None = VERSIONS_MAX) -> None:
        self.blocks: dict[int, list[Version]] = {}
        self._versions_max = versions_max
        self._versions = 0

    def is_dirty(self, lba: int) -> bool:
        """Whether the block has content that a power failure could take."""
        return lba in self.blocks

    def write(self, owner: int | None, lba: int, before: bytes, data: bytes | memoryview) -> None:
        """``data`` was written at ``lba`` where ``before`` was; both whole blocks, of the same length."""
        for index in range(len(data) // BLOCK_BYTES):
            place = slice(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES)
            versions = self.blocks.get(lba + index)
            if versions is None:
                versions = self.blocks[lba + index] = [Version(None, before[place])]
                self._versions += 1
            versions.append(Version(owner, bytes(data[place])))
            self._versions += 1
        while self._versions_max is not None and self._versions > self._versions_max:
            self._settle(next(iter(self.blocks)))

    def flush(self, lba: int, blocks: int) -> None:
        """These blocks are stable as they are."""
        if blocks > len(self.blocks):
            settled = [block for block in self.blocks if lba <= block < lba + blocks]
        else:
            settled = [block for block in range(lba, lba + blocks) if block in self.blocks]
        for block in settled:
            self._settle(block)

    def lose(self, owners: Collection[int] | None, survives: Survives) -> dict[int, bytes]:
        """A power failure of ``owners`` (None: of everybody). LBA to content of the blocks that are different now.

        ``survives`` is asked for every version of theirs, in the order of blocks, then of writes; one that survived is
        not lost any more, and nothing before it comes back.
        """
        changed: dict[int, bytes] = {}
        for lba in sorted(self.blocks):
            stable, *versions = self.blocks[lba]
            left = [stable]
            newer = sum(is_lost_by(owners, version) for version in versions)
            for version in versions:
                if not is_lost_by(owners, version):
                    left.append(version)
                    continue
                newer -= 1
                if survives(lba, newer):
                    left = [Version(None, version.content)]
            if left[-1].content != versions[-1].content:
                changed[lba] = left[-1].content
            self._versions -= len(versions) + 1 - len(left)
            self.blocks[lba] = left
            if len(left) == 1:
                self._settle(lba)
        return changed

    def _settle(self, lba: int) -> None:
        self._versions -= len(self.blocks.pop(lba))


def is_lost_by(owners: Collection[int] | None, version: Version) -> bool:
    """Whether a power failure of ``owners`` (None: of everybody) could take it."""
    return version.owner is not None and (owners is None or version.owner in owners)
