"""The volatile cache against a model that keeps whole histories: every crash is one that the history allows."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from hil.scsi.volatile_cache import VolatileCache

BLOCKS = 6


def block(number: int) -> bytes:
    return number.to_bytes(2, "big") * 256


write = st.tuples(st.just("write"), st.integers(0, 2), st.integers(0, BLOCKS - 1), st.integers(1, 3))
flush = st.tuples(st.just("flush"), st.just(0), st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS))
lose = st.tuples(st.just("lose"), st.integers(0, 7), st.just(0), st.integers(0, 1))


class Coin:
    """Whether a version survives; remembers what it said."""

    def __init__(self, rng: random.Random, *, random_part: bool) -> None:
        self._rng = rng
        self._random_part = random_part
        self.thrown: list[bool] = []

    def __call__(self, _lba: int, _newer: int) -> bool:
        self.thrown.append(self._random_part and self._rng.random() < 0.5)
        return self.thrown[-1]


Step = tuple[str, int, int, int]


@given(st.lists(st.one_of(write, flush, lose), max_size=30), st.randoms(use_true_random=False))
def test_what_a_power_failure_leaves_of_a_block_is_its_newest_version_that_was_not_lost(
    steps: list[Step], rng: random.Random
) -> None:
    cache = VolatileCache(versions_max=None)
    disk = [block(0)] * BLOCKS
    history: list[list[tuple[int | None, bytes]]] = [[(None, block(0))] for _ in range(BLOCKS)]
    for number, (what, who, lba, count) in enumerate(steps, 1):
        touched = range(lba, min(lba + count, BLOCKS))
        if what == "write":
            cache.write(who, lba, b"".join(disk[i] for i in touched), block(number) * len(touched))
            for i in touched:
                disk[i] = block(number)
                history[i].append((who, block(number)))
        elif what == "flush":
            cache.flush(lba, count)
            for i in touched:
                history[i] = [(None, disk[i])]
        else:
            owners = [owner for owner in range(3) if who >> owner & 1]
            coin = Coin(rng, random_part=bool(count))
            changed = cache.lose(owners, coin)
            answers = iter(coin.thrown)
            for i in range(BLOCKS):
                stable, *versions = history[i]
                left = [stable]
                for owner, content in versions:
                    if owner in owners:
                        if next(answers):
                            left = [(None, content)]
                    else:
                        left.append((owner, content))
                history[i] = left
                if left[-1][1] == disk[i]:
                    assert i not in changed
                else:
                    assert changed.pop(i) == left[-1][1]
                disk[i] = left[-1][1]
            assert changed == {}
            assert next(answers, None) is None
        for i in range(BLOCKS):
            assert cache.is_dirty(i) or all(owner is None for owner, _ in history[i])


def test_a_full_cache_writes_back_what_has_been_dirty_longest() -> None:
    cache = VolatileCache(versions_max=6)
    for lba in (5, 1, 3):
        cache.write(0, lba, block(0), block(lba))
    cache.write(0, 1, block(1), block(9))
    assert sorted(cache.blocks) == [1, 3]
    assert cache.lose(None, lambda _lba, _newer: False) == {1: block(0), 3: block(0)}
    assert cache.blocks == {}
