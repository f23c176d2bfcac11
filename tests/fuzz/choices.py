"""Where a case takes its choices from: a seed, or the bytes that a coverage-guided fuzzer makes up."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

# Contents of writes are pieces of it: two that begin at different places have no block in common.
_POOL: Final = random.Random(7143).randbytes(1024 * 1024 + 64 * 1024)
POOL_BYTES_MAX: Final = 1024 * 1024


class Choices(ABC):
    """The same choices make the same case."""

    @abstractmethod
    def below(self, limit: int) -> int:
        """0 to ``limit`` - 1."""

    @abstractmethod
    def octets(self, count: int) -> bytes:
        """That many bytes."""

    @property
    @abstractmethod
    def exhausted(self) -> bool:
        """Whether nothing but zeros will come."""

    def one_of(self, these: Sequence[T]) -> T:
        """Any of them; repeat one to have it more often."""
        return these[self.below(len(these))]

    def percent(self, share: int) -> bool:
        """True in ``share`` of 100 cases."""
        return self.below(100) < share

    def number(self, bits: int) -> int:
        """An unsigned field of that many bits, mostly at a boundary."""
        kind = self.below(4)
        if kind == 0:
            return self.below(1 << bits)
        edge = (0, 1, (1 << bits) - 1, 1 << self.below(bits), (1 << bits - 1) - 1, 0xFF, 0xFFFF)[self.below(7)]
        return (edge + (0, 0, 1, -1)[self.below(4)]) % (1 << bits)

    def content(self, count: int) -> bytes:
        """Data that costs nothing to make, ``POOL_BYTES_MAX`` bytes at most."""
        start = self.below(64 * 1024)
        return _POOL[start : start + count]


class Seeded(Choices):
    """Choices without end."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        # Faster than randrange. A double has 53 bits; beyond that a bias of 1/2**64 is none.
        if limit <= 1 << 48:
            return int(self._random.random() * limit)
        return self._random.getrandbits(limit.bit_length() + 64) % limit

    def octets(self, count: int) -> bytes:
        return self._random.randbytes(count)

    @property
    def exhausted(self) -> bool:
        return False
