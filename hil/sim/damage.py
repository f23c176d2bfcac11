"""Sectors of the simulated disk that are torn, lost, stale or damaged, where guestd is to survive it (S2.5, A17).

A disk that answers has done what it says, for all that an election or a membership rests on. So of what is answered:

* a heartbeat may be torn or lost: the next one comes soon. Not the first of a life: it is durable
* a read may show a heartbeat as it was one write before, of the same life; a stale ballot would be another election
* of a ballot or a commit the second copy may be torn: both are written by one command, and the first is whole

What was not answered, or failed, may be torn anywhere; but the first copy only if the write before was not torn, so
that what was answered before is still there in the second. A read may find a heartbeat damaged, or one of two copies of
which none was torn; or both, of another node's ballot or match: that read says nothing of it, and the next one does.
What is in the copies the disk does not look at: who writes one copy only has to live with that.

What was not written durably may be gone when its node loses power (``volatile-cache`` of the target). Of the virtual
disks (:mod:`hil.sim.cache`) that is all, and that a write is torn between two sectors when its node dies.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

from guestd.membership import layout
from guestd.membership.sector import SECTOR_SIZE
from hil.sim.cache import Cache, is_of_volumes
from hil.sim.randomness import Draw, draws

if TYPE_CHECKING:
    from mmap import mmap

    from hil.sim.options import Options

_WRITTEN_BACK: Final = 0.3  # the share of writes at which the disk has written back the one before
_BOTH_SHARE: Final = 0.3  # of damaged copies of another node's block: the other copy is damaged as well
_INCARNATION: Final = 32  # of a heartbeat (docs/membership-database.md)


class _Draws(NamedTuple):
    """The random numbers of one node, by what they are for."""

    torn: Draw
    lost: Draw
    cache: Draw
    stale: Draw
    flip: Draw


class Damage:
    """``medium``: the disk's contents. Says what becomes of a command; does nothing to the medium but at power loss."""

    def __init__(self, medium: bytearray | mmap, randomness: random.Random, options: Options) -> None:
        self._medium = medium
        self._draws = [_Draws(*draws(randomness, len(_Draws._fields))) for _ in range(options.nodes)]
        self._lost, self._stale, self._flipped = options.lost_share, options.stale_share, options.flip_share
        self._torn_share, self._cache_share = options.torn_share, options.cache_share
        self._cache: dict[int, bytes] = {}  # LBA -> what is stable there
        self.cache = Cache(medium)
        self._before: dict[int, bytes] = {}  # LBA of a heartbeat -> what it was before
        self._torn: dict[int, bool] = {}  # LBA of a first copy: the last write was torn -> and has not landed yet
        self._records = (layout.MATCH_SECTOR if options.election == "dekker" else layout.COMMIT_SECTOR) + layout.COPIES
        self.enabled = True
        self.counts = {"torn": 0, "lost": 0, "stale": 0, "flipped": 0, "both-flipped": 0, "cache-lost": 0}

    def _of(self, lba: int) -> _Draws:
        """The random numbers of the node whose region that is in."""
        return self._draws[(lba - layout.REGIONS_LBA) // layout.REGION_SECTORS % len(self._draws)]

    def _strikes(self, share: int, draw: Draw) -> bool:
        return bool(share) and self.enabled and draw() * 1000 < share

    def loses(self, lba: int, *, durable: bool) -> bool:
        """Whether that write is answered and not written."""
        if not self._lost or durable or not _is_heartbeat(lba):
            return False
        lost = self._strikes(self._lost, self._of(lba).lost)
        self.counts["lost"] += lost
        return lost

    def tears(self, lba: int, data: bytes, *, durable: bool, dies: bool) -> tuple[bytes, bool] | None:
        """What reaches the medium of a write that is torn, in whole sectors, and whether it is answered as if all did.

        dies: the machine is gone, nobody gets an answer.
        """
        if not self._torn_share or not self.enabled:
            return None
        if is_of_volumes(lba):
            return self._tears_data(data, lba) if dies else None
        draw = self._of(lba).torn
        if not (dies and draw() < 0.2) and draw() * 1000 >= self._torn_share:
            return None
        heartbeat = _is_heartbeat(lba)
        answered = not dies and draw() < 0.5 and not (heartbeat and durable)
        first = 1
        if not heartbeat and (answered or lba in self._torn):
            first = SECTOR_SIZE
        start = lba * SECTOR_SIZE
        changed = next((at for at in range(len(data)) if data[at] != self._medium[start + at]), len(data))
        if changed >= len(data) - 1:
            return None  # there is nothing to tear
        # Something of it is there: else what was there before would seem to have been written once more.
        first = max(first, changed + 1)
        at = first + int(draw() * (len(data) - first))
        end = -(-at // SECTOR_SIZE) * SECTOR_SIZE
        self.counts["torn"] += 1
        self._torn[lba] = True
        return data[:at] + bytes(self._medium[start + at : start + end]), answered

    def _tears_data(self, data: bytes, lba: int) -> tuple[bytes, bool] | None:
        """Some of its sectors, from the first on."""
        draw, sectors = self._of(lba).torn, len(data) // SECTOR_SIZE
        if sectors == 1 or draw() < 0.5:
            return None
        self.counts["torn"] += 1
        return data[: SECTOR_SIZE * (1 + int(draw() * (sectors - 1)))], False

    def written(self, node: int, lba: int, data: bytes, *, durable: bool) -> None:
        """That is about to reach the medium."""
        if is_of_volumes(lba):
            if self._cache_share:
                self.cache.written(node, lba, len(data), durable=durable)
            return
        start = lba * SECTOR_SIZE
        if self._torn and self._torn.pop(lba, False):
            self._torn[lba] = False
        if self._stale and _is_heartbeat(lba):
            before = bytes(self._medium[start : start + SECTOR_SIZE])
            if before[_INCARNATION : _INCARNATION + 4] == data[_INCARNATION : _INCARNATION + 4]:
                self._before[lba] = before
            else:
                self._before.pop(lba, None)
        if not self._cache_share:
            return
        if durable:
            for index in range(len(data) // SECTOR_SIZE):
                self._cache.pop(lba + index, None)
        elif lba not in self._cache or self._of(lba).cache() < _WRITTEN_BACK:
            self._cache[lba] = bytes(self._medium[start : start + len(data)])

    def power_lost(self, node: int) -> None:
        """What that node had in the disk's cache may be gone."""
        self.cache.power_lost(node, self._cache_share if self.enabled else 0, self._draws[node].cache)
        first = layout.region_lba(node, 0)
        for lba in [lba for lba in self._cache if first <= lba < first + layout.REGION_SECTORS]:
            stable = self._cache.pop(lba)
            if self._strikes(self._cache_share, self._draws[node].cache):
                self.counts["cache-lost"] += 1
                self._before.pop(lba, None)
                self._medium[lba * SECTOR_SIZE : lba * SECTOR_SIZE + len(stable)] = stable

    def read(self, node: int, lba: int, data: bytes) -> bytes:
        """What a read of all regions brings to that node."""
        if lba != layout.REGIONS_LBA:
            return data
        draw = self._draws[node].stale
        if self._before and self._strikes(self._stale, draw):
            places = sorted(self._before)
            stale = places[int(draw() * len(places))]
            data = _put(data, (stale - lba) * SECTOR_SIZE, self._before[stale])
            self.counts["stale"] += 1
        draw = self._draws[node].flip
        if self._strikes(self._flipped, draw):
            sector = int(draw() * (len(data) // layout.REGION_SIZE)) * layout.REGION_SECTORS
            sector += int(draw() * self._records)
            if self._may_flip(lba + sector):
                at = sector * SECTOR_SIZE + int(draw() * SECTOR_SIZE)
                data = _put(data, at, bytes([data[at] ^ 1 << int(draw() * 8)]))
                self.counts["flipped"] += 1
                other = self._other_copy(node, sector)
                if other is not None and draw() < _BOTH_SHARE:
                    at = other * SECTOR_SIZE + int(draw() * SECTOR_SIZE)
                    data = _put(data, at, bytes([data[at] ^ 1 << int(draw() * 8)]))
                    self.counts["both-flipped"] += 1
        return data

    @staticmethod
    def _other_copy(reader: int, sector: int) -> int | None:
        """Of a block of another node: where its second copy is, or its first."""
        owner, number = divmod(sector, layout.REGION_SECTORS)
        first = number - (number - layout.BALLOT_SECTOR) % layout.COPIES
        if owner == reader or first not in (layout.BALLOT_SECTOR, layout.MATCH_SECTOR):
            return None
        return owner * layout.REGION_SECTORS + 2 * first + 1 - number

    def _may_flip(self, lba: int) -> bool:
        if _is_heartbeat(lba):
            return True
        sector = (lba - layout.REGIONS_LBA) % layout.REGION_SECTORS
        return lba - (sector - layout.BALLOT_SECTOR) % layout.COPIES not in self._torn


def _is_heartbeat(lba: int) -> bool:
    return (
        layout.REGIONS_LBA <= lba < layout.REGIONS_END_LBA
        and (lba - layout.REGIONS_LBA) % layout.REGION_SECTORS == layout.HEARTBEAT_SECTOR
    )


def _put(data: bytes, at: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at + len(piece) :]
