"""A disk in memory with a volatile cache, which remembers every command: what a crash at any point may leave of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

SECTOR = 512


@dataclass(frozen=True)
class Write:
    """One command; `node` sent it."""

    lba: int
    data: bytes
    durable: bool
    node: int = 0


@dataclass(frozen=True)
class Flush:
    node: int = 0


@dataclass
class CachedDisk:
    """What is read is always the newest; what is on the medium, only the log can tell."""

    base: dict[int, bytes] = field(default_factory=dict)
    """Sectors at the beginning, on the medium."""

    def __post_init__(self) -> None:
        self.now = dict(self.base)
        self.log: list[Write | Flush] = []

    def read(self, lba: int, count: int) -> bytes:
        return b"".join(self.now.get(lba + place, bytes(SECTOR)) for place in range(count))

    def write(self, lba: int, data: bytes, *, durable: bool, node: int = 0) -> None:
        self.log.append(Write(lba, data, durable, node))
        for place in range(len(data) // SECTOR):
            self.now[lba + place] = data[SECTOR * place : SECTOR * (place + 1)]

    def flush(self, node: int = 0) -> None:
        self.log.append(Flush(node))


def sectors(write: Write) -> list[tuple[int, bytes]]:
    return [
        (write.lba + place, write.data[SECTOR * place : SECTOR * (place + 1)])
        for place in range(len(write.data) // SECTOR)
    ]


class Cut:
    """The medium and the cache after the first commands of a log; `at` moves on only."""

    def __init__(self, base: dict[int, bytes], log: list[Write | Flush]) -> None:
        self._log = log
        self._medium = dict(base)
        self._cached: dict[int, list[bytes]] = {}  # every version since the last flush
        self.at = 0

    def move_to(self, at: int) -> None:
        while self.at < at:
            entry = self._log[self.at]
            if isinstance(entry, Flush):
                self._medium.update({lba: versions[-1] for lba, versions in self._cached.items()})
                self._cached.clear()
            else:
                for lba, data in sectors(entry):
                    if entry.durable:
                        self._medium[lba] = data
                        self._cached.pop(lba, None)
                    else:
                        self._cached.setdefault(lba, []).append(data)
            self.at += 1

    def left(self, randomness: random.Random, keep: float, *, torn: bool) -> dict[int, bytes]:
        """One image that a power failure here may leave: of each sector any version since the last flush, and of the
        command under way any sectors. keep: how likely the newest version is."""
        left = dict(self._medium)
        under_way = self._log[self.at] if torn and self.at < len(self._log) else None
        cached = {lba: list(versions) for lba, versions in self._cached.items()}
        if isinstance(under_way, Write):
            for lba, data in sectors(under_way):
                cached.setdefault(lba, []).append(data)
        for lba, versions in cached.items():
            if randomness.random() < keep:
                left[lba] = versions[-1]
            elif len(versions) > 1 and randomness.random() < 0.5:
                left[lba] = randomness.choice(versions)
        return left
