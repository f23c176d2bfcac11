"""Programs beside guestd that write raw to the data disks, one on each node for each LUN, while their node is joined.

What they write is of no use to anybody: it shows whose writes a disk takes (S6.2). Who is told that a write has failed
writes no more in that life.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from guestd.core.effects import WriteSectors
from guestd.membership import layout
from guestd.membership.sector import SECTOR_SIZE
from guestd.membership.states import NodeState

if TYPE_CHECKING:
    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue

_TAG: Final = -1  # of a command that guestd knows nothing of
_PAUSE_US_MAX: Final = 200_000


class DiskWriters:
    """All of them. ``counts``: writes that have ended, and how."""

    def __init__(self, queue: Queue, randomness: random.Random, options: Options) -> None:
        self.counts = {"done": 0, "failed": 0}
        self._queue = queue
        self._random = randomness
        self._luns = range(1, 1 + options.data_disks)

    def start(self, node: Node) -> None:
        """A new life of it begins."""
        for lun in self._luns:
            self._later(node, node.life, lun)

    def done(self, node: Node, life: int, lun: int, ok: bool) -> None:
        """A write has ended."""
        self.counts["done" if ok else "failed"] += 1
        if ok:
            self._later(node, life, lun)

    def _later(self, node: Node, life: int, lun: int) -> None:
        self._queue.after(self._random.randint(1, _PAUSE_US_MAX), self._write, node, life, lun)

    def _write(self, node: Node, life: int, lun: int) -> None:
        stack = node.stack
        if stack is None or node.life != life:
            return
        if node.frozen is not None:
            node.keep(self._write, node, life, lun)
        elif stack.member.state is not NodeState.JOINED:
            self._later(node, life, lun)
        else:
            data = node.incarnation.to_bytes(SECTOR_SIZE, "big")
            node.world.disk.submit(node, WriteSectors(_TAG, layout.VOLUMES_LBA + node.number, data, False, lun))
