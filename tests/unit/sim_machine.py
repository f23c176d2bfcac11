"""A machine at the simulated disk that sends what a test says and keeps what it is answered; the disk is the real one.

It stands where :class:`hil.sim.nodes.Node` does: what that has beyond this, the disk does not look at.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from guestd.core.effects import ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.fence import persistent_reserve as pr
from guestd.membership import layout
from hil.sim.disk import Disk
from hil.sim.options import Options, draw
from hil.sim.queue import Queue
from hil.sim.trace import Trace

SEED = 1
Done = WriteDone | ReadDone | ScsiDone


class Machine:
    """Number and life as of a node; ``answers`` in the order in which they came."""

    def __init__(self, disk: Disk, queue: Queue, number: int) -> None:
        self.number = number
        self.life = 1
        self.stack: object | None = self  # it runs
        self.frozen: list[tuple[Callable[..., None], tuple[Any, ...]]] | None = None
        self.answers: list[Done] = []
        self._disk = disk
        self._queue = queue
        self._tag = 0

    def give(self, life: int, done: Done) -> None:
        """From the disk."""
        if life == self.life:
            self.answers.append(done)

    def keep(self, action: Callable[..., None], *arguments: Any) -> None:
        """For when it goes on."""
        assert self.frozen is not None
        self.frozen.append((action, arguments))

    def send(self, command: WriteSectors | ReadSectors | ScsiCommand) -> None:
        """On its way; nothing has happened yet."""
        self._disk.submit(self, command)  # type: ignore[arg-type]  # a Node to the disk

    def write(self, sector: int, data: bytes, *, node: int | None = None, durable: bool = True) -> None:
        """To its own region, or that of another."""
        lba = layout.region_lba(self.number if node is None else node, sector)
        self.send(WriteSectors(self.tag(), lba, data, durable))

    def read(self, nodes: int) -> None:
        """All regions."""
        self.send(ReadSectors(self.tag(), layout.REGIONS_LBA, nodes * layout.REGION_SECTORS))

    def out(self, action: int, key: int, action_key: int = 0) -> None:
        """PERSISTENT RESERVE OUT with guestd's own bytes."""
        cdb, data = pr.out(action, key, action_key)
        self.send(ScsiCommand(self.tag(), cdb, data, 0))

    def keys(self) -> None:
        """READ KEYS."""
        self.send(ScsiCommand(self.tag(), pr.read_keys(), b"", pr.KEYS_SIZE_MAX))

    def tag(self) -> int:
        self._tag += 1
        return self._tag

    def answered(self) -> Done:
        """Let the time pass until the last command is answered."""
        before = len(self.answers)
        for _ in range(200):
            if len(self.answers) > before:
                return self.answers[-1]
            self._queue.run_until(self._queue.now_us + 100_000)
        raise AssertionError(f"node {self.number}: no answer")


class Bench:
    """A disk without faults but those of ``changes``, and machines at it."""

    def __init__(self, nodes: int = 3, seed: int = SEED, **changes: Any) -> None:
        self.options: Options = replace(draw(seed, "performance", nodes), **changes)
        self.queue = Queue()
        self.medium = bytearray(layout.DATABASE_OFFSET + layout.DATABASE_SIZE)
        trace = Trace(self.queue)
        self.disk = Disk(self.medium, self.queue, random.Random(seed), self.options, trace)
        self.machines = [Machine(self.disk, self.queue, number) for number in range(nodes)]

    def run(self, ms: int) -> None:
        """Let the time pass."""
        self.queue.run_until(self.queue.now_us + ms * 1000)

    def sector(self, node: int, sector: int) -> bytes:
        """What is on the medium."""
        start = layout.region_lba(node, sector) * 512
        return bytes(self.medium[start : start + 512])

    def outcomes(self, node: int) -> list[str]:
        """Of the ledger."""
        return [entry.outcome for entry in self.disk.ledger.of(node)]
