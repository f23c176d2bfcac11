"""Locks of programs on files on three nodes, one after the other, and a table of what should come of them."""

from __future__ import annotations

import errno
import random
from typing import Any

from guestd.sfs import ranges
from guestd.sfs.errors import FsError
from guestd.sfs.filesystem import READ, TO_THE_END, UNLOCK, WRITE
from guestd.tasks.engine import Outcome
from tests.unit.sfs_net import SfsWorld
from tests.unit.sfs_node import check


class Bench:
    """Three nodes and one file that all of them have open."""

    def __init__(self, seed: int) -> None:
        self.world = SfsWorld(seed)
        for number in range(3):
            self.world.power_on(number)
        self.world.run_until(self.world.all_usable)
        system = self.world.system(0)
        self.file = self.world.run_task(0, system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
        for number in range(3):
            self.world.run_task(number, self.world.system(number).open(self.file))

    def lock(self, node: int, owner: int, kind: int, start: int, end: int) -> int:
        """At once; the errno or 0."""
        task = self.world.system(node).lock(self.file, owner, kind, start, end, wait=False)
        return self._code(node, task)

    def flock(self, node: int, owner: int, kind: int) -> int:
        return self._code(node, self.world.system(node).flock(self.file, owner, kind, wait=False))

    def _code(self, node: int, task: Any) -> int:
        try:
            self.world.run_task(node, task)
        except FsError as why:
            return why.errno
        return 0

    def wait(self, node: int, owner: int, kind: int, start: int, end: int) -> list[Outcome]:
        """Waits; the outcome comes into the list."""
        outcomes: list[Outcome] = []
        task = self.world.system(node).lock(self.file, owner, kind, start, end, wait=True)
        self.world.start(node, task, outcomes.append)
        self.world.run(100)
        return outcomes

    def end(self) -> None:
        """Nothing is left anywhere."""
        for number in range(3):
            if self.world.usable(number):
                assert self.world.leave(number)
        self.world.run_until(lambda: all(node.level is None for node in self.world.nodes))
        report = check(self.world.disk.now, self.world.blocks)
        assert (report.wrong, report.notes) == ([], [])


def lock_history(seed: int) -> int:
    """Random locks of ranges, compared with a table of bytes; how many were refused."""
    bench = Bench(seed)
    randomness = random.Random(seed)
    held: dict[tuple[int, int], list[ranges.Segment]] = {}
    refused = 0
    for _ in range(120):
        node, owner = randomness.randrange(3), randomness.randrange(2)
        start = randomness.randrange(60)
        end = randomness.choice([start + randomness.randrange(40), TO_THE_END])
        kind = randomness.choice([READ, READ, WRITE, UNLOCK])
        after = ranges.END if end == TO_THE_END else end + 1
        overlap = kind != UNLOCK and any(
            first < after and start < last and (exclusive or kind == WRITE)
            for who, segments in held.items()
            for first, last, exclusive in segments
            if who != (node, owner)
        )
        if randomness.random() < 0.2 and kind != UNLOCK:
            task = bench.world.system(node).test_lock(bench.file, owner, kind, start, end)
            assert bench.world.run_task(node, task) is not overlap
            continue
        assert bench.lock(node, owner, kind, start, end) == (errno.EAGAIN if overlap else 0)
        refused += overlap
        if not overlap:
            before = held.get((node, owner), [])
            held[node, owner] = ranges.change(before, start, after, {READ: False, WRITE: True, UNLOCK: None}[kind])
    bench.end()
    return refused
