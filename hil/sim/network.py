"""The private interconnect: datagrams, to all or to one, that arrive, or not, or late, or twice.

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
from hil.sim.randomness import draws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue
    from hil.sim.trace import Trace

_SENT: Final = 1  # in the digest


class Network:
    """``counts``: what became of datagrams, by receiver. ``on_changed`` is called after each cut and each heal."""

    def __init__(self, queue: Queue, randomness: random.Random, options: Options, trace: Trace) -> None:
        self._queue = queue
        # By sender: whether it is lost, late, doubled, and how long it takes.
        self._draws = [draws(randomness, 4) for _ in range(options.nodes)]
        self._told_draws = [draws(randomness, 4) for _ in range(options.nodes)]  # the same, of what is for one node
        self._trace = trace
        self._delay_us = options.delay_us_max
        self._late = options.late_share / 1000
        self._late_us = options.late_ms_max * 1000
        self._duplicate = options.duplicate_share / 1000
        self._nodes: Sequence[Node] = ()
        self._cuts: dict[tuple[int, int], int] = {}  # (from, to) -> how many faults cut it
        self._deaf: list[int] = [0] * options.nodes  # by sender: mask of those that it does not reach
        self.loss = options.loss_share / 1000
        self.on_changed: Callable[[], None] = lambda: None
        self.counts = {"sent": 0, "told": 0, "cut": 0, "lost": 0, "late": 0, "duplicated": 0}

    def connect(self, nodes: Sequence[Node]) -> None:
        """Whom it reaches."""
        self._nodes = nodes

    def send(self, sender: int, payload: bytes, only: int = -1) -> None:
        """To all others; ``only``: a mask of those that it reaches before its sender dies."""
        self._trace.note(_SENT, sender, zlib.crc32(payload))
        counts = self.counts
        draw_lost, draw_late, draw_doubled, draw_delay = self._draws[sender]
        counts["sent"] += 1
        datagram = Datagram(payload)
        unreached = self._deaf[sender] | ~only
        loss, late, duplicate = self.loss, self._late, self._duplicate
        receivers = []
        delay_us = int(draw_delay() * self._delay_us)  # drawn whoever hears it: what is lost changes no other delay
        whole = not (loss or late or duplicate or unreached)
        for node in self._nodes:
            number = node.number
            if number == sender or node.stack is None:
                continue
            if whole:
                receivers.append(node)
            elif unreached >> number & 1:
                counts["cut"] += 1
            elif loss and draw_lost() < loss:
                counts["lost"] += 1
            elif late and draw_late() < late:
                counts["late"] += 1
                self._queue.after(int(draw_late() * self._late_us), self._arrive, (node,), datagram)
            else:
                receivers.append(node)
                if duplicate and draw_doubled() < duplicate:
                    counts["duplicated"] += 1
                    self._queue.after(int(draw_doubled() * self._late_us), self._arrive, (node,), datagram)
        if receivers:
            # A switch hands a broadcast to all ports at about the same time.
            self._queue.after(delay_us, self._arrive, receivers, datagram)

    def tell(self, sender: int, receiver: int, payload: bytes) -> None:
        """To one node."""
        self._trace.note(_SENT, sender, zlib.crc32(payload))
        counts = self.counts
        draw_lost, draw_late, draw_doubled, draw_delay = self._told_draws[sender]
        counts["told"] += 1
        node, delay_us = self._nodes[receiver], int(draw_delay() * self._delay_us)
        if node.stack is None:
            return
        if self._deaf[sender] >> receiver & 1:
            counts["cut"] += 1
        elif self.loss and draw_lost() < self.loss:
            counts["lost"] += 1
        else:
            datagram = Datagram(payload)
            if self._late and draw_late() < self._late:
                counts["late"] += 1
                delay_us = int(draw_late() * self._late_us)
            self._queue.after(delay_us, self._arrive, (node,), datagram)
            if self._duplicate and draw_doubled() < self._duplicate:
                counts["duplicated"] += 1
                self._queue.after(int(draw_doubled() * self._late_us), self._arrive, (node,), datagram)

    def cut(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Nothing gets from the first to the second of each pair any more, until as many calls of ``heal``."""
        for pair in pairs:
            self._cuts[pair] = self._cuts.get(pair, 0) + 1
            self._deaf[pair[0]] |= 1 << pair[1]
        self.on_changed()

    def heal(self, pairs: Iterable[tuple[int, int]]) -> None:
        """One cut of each of these pairs ends."""
        for pair in pairs:
            self._cuts[pair] -= 1
            if not self._cuts[pair]:
                self._deaf[pair[0]] &= ~(1 << pair[1])
        self.on_changed()

    def reaches(self, sender: int, receiver: int) -> bool:
        """Whether what that node says gets to the other one, for all that is cut."""
        return not self._deaf[sender] >> receiver & 1

    @property
    def whole(self) -> bool:
        """Whether nothing is cut."""
        return not any(self._deaf)

    @staticmethod
    def _arrive(receivers: Sequence[Node], datagram: Datagram) -> None:
        for node in receivers:
            node.give(node.life, datagram)
