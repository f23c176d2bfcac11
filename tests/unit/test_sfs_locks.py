"""Locks of programs on files, on all nodes: `flock`, and `fcntl` on ranges of bytes."""

from __future__ import annotations

import errno
import random
from itertools import pairwise

import pytest

from guestd.dlm.modes import Mode, are_compatible
from guestd.sfs import ranges
from guestd.sfs.errors import FsError
from guestd.sfs.filesystem import READ, TO_THE_END, UNLOCK, WRITE
from guestd.tasks.engine import Outcome
from tests.unit.sfs_locks import Bench, lock_history


def test_a_range_is_covered_by_nodes_that_are_just_it() -> None:
    randomness = random.Random(1)
    for _ in range(300):
        start = randomness.choice([0, randomness.randrange(5000), randomness.getrandbits(60)])
        end = randomness.choice([start + randomness.randrange(1, 5000), ranges.END])
        at = start
        for depth, place in ranges.cover(start, end):
            size = 16 ** (ranges.DEPTH - depth)
            assert place * size == at
            at += size
        assert at == end
    assert ranges.cover(0, ranges.END) == [(0, 0)]
    assert len(ranges.cover(1, ranges.END - 1)) == 15 * 15 + 15 * 15 + 14  # the most there can be


def test_two_owners_exclude_each_other_just_where_their_ranges_do() -> None:
    randomness = random.Random(2)
    conflicts = 0
    for _ in range(2000):
        owners = []
        for _ in range(2):
            segments: list[ranges.Segment] = []
            for _ in range(randomness.choice([1, 1, 3])):
                start = randomness.randrange(300)
                end = randomness.choice([start + randomness.randrange(1, 100), ranges.END])
                segments = ranges.change(segments, start, end, randomness.choice([False, True, None]))
            owners.append(segments)
        overlap = any(
            one[0] < other[1] and other[0] < one[1] and (one[2] or other[2]) for one in owners[0] for other in owners[1]
        )
        first, second = ranges.needed(owners[0]), ranges.needed(owners[1])
        refused = any(not are_compatible(mode, second.get(node, Mode.NL)) for node, mode in first.items())
        assert refused == overlap
        conflicts += overlap
    assert 300 < conflicts < 1900


def test_the_last_change_of_a_byte_counts() -> None:
    randomness = random.Random(3)
    for _ in range(500):
        segments: list[ranges.Segment] = []
        bytes_of: dict[int, bool] = {}
        for _ in range(6):
            start = randomness.randrange(20)
            end = start + randomness.randrange(1, 10)
            kind = randomness.choice([False, True, None])
            segments = ranges.change(segments, start, end, kind)
            for place in range(start, end):
                bytes_of.pop(place, None)
                if kind is not None:
                    bytes_of[place] = kind
        assert {place: kind for start, end, kind in segments for place in range(start, end)} == bytes_of
        assert all(one[1] < other[0] or one[2] != other[2] for one, other in pairwise(segments))


@pytest.mark.parametrize("seed", range(4))
def test_locks_of_ranges_are_granted_and_refused_as_in_a_table_of_bytes(seed: int) -> None:
    assert lock_history(seed) > 15


def test_whole_files_are_shared_or_exclusive() -> None:
    bench = Bench(11)
    assert bench.flock(0, 1, READ) == 0
    assert bench.flock(1, 1, READ) == 0
    assert bench.flock(2, 1, WRITE) == errno.EAGAIN
    assert bench.flock(0, 1, WRITE) == errno.EAGAIN
    assert bench.flock(1, 1, UNLOCK) == 0
    assert bench.flock(0, 1, WRITE) == 0
    assert bench.flock(0, 2, READ) == errno.EAGAIN  # another owner on the same node
    assert bench.lock(1, 1, WRITE, 0, TO_THE_END) == 0  # the other kind of locks
    assert bench.flock(0, 1, READ) == 0
    assert bench.flock(0, 2, READ) == 0
    bench.end()


def test_of_two_that_hold_a_file_shared_and_want_it_exclusively_both_get_it_in_turn() -> None:
    bench = Bench(12)
    world = bench.world
    done: dict[int, list[Outcome]] = {0: [], 1: []}
    for node in done:
        assert bench.flock(node, 1, READ) == 0
    for node, outcomes in done.items():
        world.start(node, world.system(node).flock(bench.file, 1, WRITE, wait=True), outcomes.append)
    world.run_until(lambda: any(done.values()))
    first = 0 if done[0] else 1
    world.run(500)
    assert not done[1 - first]
    assert bench.flock(first, 1, UNLOCK) == 0
    world.run_until(lambda: all(done.values()))
    assert all(outcomes[0].error is None for outcomes in done.values())
    bench.end()


def test_who_waits_gets_the_range_when_it_is_unlocked_or_its_owner_dies() -> None:
    bench = Bench(13)
    assert bench.lock(0, 1, WRITE, 10, 19) == 0
    first = bench.wait(1, 1, WRITE, 15, 30)
    assert not first
    assert bench.lock(2, 1, WRITE, 40, 50) == 0  # nobody is in the way of what does not overlap
    assert bench.lock(0, 1, UNLOCK, 0, TO_THE_END) == 0
    bench.world.run_until(lambda: first)
    assert first[0].error is None
    second = bench.wait(2, 1, READ, 0, 100)
    assert not second
    bench.world.kill(1)
    bench.world.run_until(lambda: second)
    assert second[0].error is None
    bench.world.run_until(lambda: bench.world.usable(0))
    assert bench.lock(0, 1, WRITE, 99, 99) == errno.EAGAIN
    bench.end()


def test_owners_that_wait_for_each_other_are_told() -> None:
    bench = Bench(14)
    assert bench.lock(0, 1, WRITE, 0, 9) == 0
    assert bench.lock(1, 2, WRITE, 10, 19) == 0
    waits = [bench.wait(0, 1, WRITE, 10, 19), bench.wait(1, 2, WRITE, 0, 9)]
    bench.world.run_until(lambda: any(waits))
    victim = 0 if waits[0] else 1
    error = waits[victim][0].error
    assert isinstance(error, FsError)
    assert error.errno == errno.EDEADLK
    bench.world.run(3000)
    assert not waits[1 - victim]  # it goes on waiting: the victim keeps what it had
    assert bench.lock(victim, victim + 1, UNLOCK, 0, TO_THE_END) == 0
    bench.world.run_until(lambda: all(waits))
    assert waits[1 - victim][0].error is None
    bench.end()


def test_who_waits_can_be_interrupted_and_does_not_hold_up_a_leave() -> None:
    bench = Bench(15)
    world = bench.world
    assert bench.lock(0, 1, WRITE, 0, TO_THE_END) == 0
    outcomes = bench.wait(1, 1, READ, 5, 5)
    world.run_task(1, world.system(1).interrupt_lock(bench.file, 1))
    world.run_until(lambda: outcomes)
    assert isinstance(outcomes[0].error, FsError)
    assert outcomes[0].error.errno == errno.EINTR
    outcomes = bench.wait(2, 1, READ, 5, 5)
    assert world.leave(2)
    world.run_until(lambda: world.nodes[2].level is None)
    assert bench.lock(1, 1, READ, 5, 5) == errno.EAGAIN
    assert bench.lock(0, 1, UNLOCK, 0, TO_THE_END) == 0
    assert bench.lock(1, 1, READ, 5, 5) == 0
    bench.end()


def test_contents_can_be_changed_on_another_node_while_the_file_is_locked() -> None:
    bench = Bench(16)
    world = bench.world
    assert bench.lock(0, 1, WRITE, 0, 9) == 0
    world.run_task(1, world.system(1).write(bench.file, 0, b"advisory", 5))
    assert world.run_task(2, world.system(2).read(bench.file, 0, 99)) == b"advisory"
    assert bench.lock(2, 1, WRITE, 9, 9) == errno.EAGAIN
    assert bench.lock(2, 1, WRITE, 5, 4) == errno.EINVAL
    bench.end()
