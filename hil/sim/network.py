"""The private interconnect: broadcasts that arrive, or not, or late, or twice.

Faults that a correct cluster must survive, and no others:

* delay, with some datagrams much later than others, so that they come in another order (S5.1)
* loss and duplication of any share, for each receiver by itself
* one-way cuts (A7), both ways, whole nodes, and splits into groups (A6, S5.2), all silent: nobody is told

A datagram arrives whole or not at all: what is damaged on the way the card drops, by its checksum. It is later than a
boot takes by no means: a node would else hear its own former life and take it for another machine (`duplicate.py`).
A node's own datagram does not come back to it: guestd makes nothing of it.
"""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING, Final

from guestd.core.inputs import Datagram

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue
    from hil.sim.trace import Trace

_SENT: Final = 1  # in the digest


class Network:
    """``counts``: what became of datagrams, by receiver."""

    def __init__(self, queue: Queue, randomness: random.Random, options: Options, trace: Trace) -> None:
        self._queue = queue
        self._random = randomness.random
        self._trace = trace
        self._delay_us = options.delay_us_max
        self._late = options.late_share / 1000
        self._late_us = options.late_ms_max * 1000
        self._duplicate = options.duplicate_share / 1000
        self._nodes: Sequence[Node] = ()
        self._cuts: dict[tuple[int, int], int] = {}  # (from, to) -> how many faults cut it
        self._deaf: list[int] = [0] * options.nodes  # by sender: mask of those that it does not reach
        self.loss = options.loss_share / 1000
        self.counts = {"sent": 0, "cut": 0, "lost": 0, "late": 0, "duplicated": 0}

    def connect(self, nodes: Sequence[Node]) -> None:
        """Whom it reaches."""
        self._nodes = nodes

    def send(self, sender: int, payload: bytes, only: int = -1) -> None:
        """To all others; ``only``: a mask of those that it reaches before its sender dies."""
        self._trace.note(_SENT, sender, zlib.crc32(payload))
        counts, draw = self.counts, self._random
        counts["sent"] += 1
        datagram = Datagram(payload)
        unreached = self._deaf[sender] | ~only
        loss, late, duplicate = self.loss, self._late, self._duplicate
        receivers = []
        whole = not (loss or late or duplicate or unreached)
        for node in self._nodes:
            number = node.number
            if number == sender or node.stack is None:
                continue
            if whole:
                receivers.append(node)
            elif unreached >> number & 1:
                counts["cut"] += 1
            elif loss and draw() < loss:
                counts["lost"] += 1
            elif late and draw() < late:
                counts["late"] += 1
                self._queue.after(int(draw() * self._late_us), self._arrive, (node,), datagram)
            else:
                receivers.append(node)
                if duplicate and draw() < duplicate:
                    counts["duplicated"] += 1
                    self._queue.after(int(draw() * self._late_us), self._arrive, (node,), datagram)
        if receivers:
            # A switch hands a broadcast to all ports at about the same time.
            self._queue.after(int(draw() * self._delay_us), self._arrive, receivers, datagram)

    def cut(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Nothing gets from the first to the second of each pair any more, until as many calls of ``heal``."""
        for pair in pairs:
            self._cuts[pair] = self._cuts.get(pair, 0) + 1
            self._deaf[pair[0]] |= 1 << pair[1]

    def heal(self, pairs: Iterable[tuple[int, int]]) -> None:
        """One cut of each of these pairs ends."""
        for pair in pairs:
            self._cuts[pair] -= 1
            if not self._cuts[pair]:
                self._deaf[pair[0]] &= ~(1 << pair[1])

    @property
    def whole(self) -> bool:
        """Whether nothing is cut."""
        return not any(self._deaf)

    @staticmethod
    def _arrive(receivers: Sequence[Node], datagram: Datagram) -> None:
        for node in receivers:
            node.give(node.life, datagram)
