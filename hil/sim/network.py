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
from typing import TYPE_CHECKING, Final

from guestd.core.inputs import Datagram
from hil.sim.randomness import draws
from hil.sim.trace import sum_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue
    from hil.sim.trace import Trace

_SENT: Final = 1  # in the digest


class Impairment:
    """What is wrong between some nodes. ``met``: datagrams that it was asked about; ``lost``: of these.

    ``loss``: the share that it drops, by ``draw``; ``delay_us``: by how much later the others arrive. A datagram that
    is delayed is in its sender's memory: it is gone when that is.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], loss: float, delay_us: int, draw: Callable[[], float]) -> None:
        self.pairs = tuple(pairs)
        self.loss = loss
        self.delay_us = delay_us
        self.draw = draw
        self.met = 0
        self.lost = 0

    def loses(self) -> bool:
        """Whether the next one is lost."""
        self.met += 1
        if self.loss and self.draw() < self.loss:
            self.lost += 1
            return True
        return False


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
        self._impaired: dict[tuple[int, int], list[Impairment]] = {}
        self.loss = options.loss_share / 1000
        self.on_changed: Callable[[], None] = lambda: None
        self.counts = {"sent": 0, "told": 0, "cut": 0, "lost": 0, "late": 0, "duplicated": 0}

    def connect(self, nodes: Sequence[Node]) -> None:
        """Whom it reaches."""
        self._nodes = nodes

    def send(self, sender: int, payload: bytes, only: int = -1) -> None:
        """To all others; ``only``: a mask of those that it reaches before its sender dies."""
        self._trace.note(_SENT, sender, sum_of(payload))
        counts = self.counts
        draw_lost, draw_late, draw_doubled, draw_delay = self._draws[sender]
        counts["sent"] += 1
        datagram = Datagram(payload)
        unreached = self._deaf[sender] | ~only
        loss, late, duplicate = self.loss, self._late, self._duplicate
        receivers = []
        delay_us = int(draw_delay() * self._delay_us)  # drawn whoever hears it: what is lost changes no other delay
        whole = not (loss or late or duplicate or unreached or self._impaired)
        for node in self._nodes:
            number = node.number
            if number == sender or node.stack is None:
                continue
            if whole:
                receivers.append(node)
            elif (
                self._impaired
                and (impaired := self._impaired.get((sender, number)))
                and self._spoiled(impaired, sender, node, datagram, delay_us, counted=not unreached >> number & 1)
            ):
                continue
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
        self._trace.note(_SENT, sender, sum_of(payload))
        counts = self.counts
        draw_lost, draw_late, draw_doubled, draw_delay = self._told_draws[sender]
        counts["told"] += 1
        node, delay_us = self._nodes[receiver], int(draw_delay() * self._delay_us)
        if node.stack is None:
            return
        cut = bool(self._deaf[sender] >> receiver & 1)
        if (
            self._impaired
            and (impaired := self._impaired.get((sender, receiver)))
            and self._spoiled(impaired, sender, node, Datagram(payload), delay_us, counted=not cut)
        ):
            return
        if cut:
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

    def impair(self, impairment: Impairment) -> None:
        """From now on, until ``mend``. One that loses everything is a cut as well."""
        for pair in impairment.pairs:
            self._impaired.setdefault(pair, []).append(impairment)
        if impairment.loss >= 1:
            self.cut(impairment.pairs)

    def mend(self, impairment: Impairment) -> None:
        """It is over."""
        for pair in impairment.pairs:
            self._impaired[pair].remove(impairment)
            if not self._impaired[pair]:
                del self._impaired[pair]
        if impairment.loss >= 1:
            self.heal(impairment.pairs)

    def _spoiled(
        self,
        impairments: Sequence[Impairment],
        sender: int,
        receiver: Node,
        datagram: Datagram,
        delay_us: int,
        *,
        counted: bool,
    ) -> bool:
        """All of them are asked. Whether the datagram is lost by one, or is on its way already, but late."""
        lost = [one.loses() for one in impairments]
        if not counted:  # it is cut: whoever counts that is asked next
            return False
        if any(lost):
            self.counts["lost"] += 1
            return True
        more_us = sum(one.delay_us for one in impairments)
        if more_us:
            self._queue.after(
                more_us, self._leaves_late, sender, self._nodes[sender].life, receiver, datagram, delay_us
            )
        return bool(more_us)

    def _leaves_late(self, sender: int, life: int, receiver: Node, datagram: Datagram, delay_us: int) -> None:
        node = self._nodes[sender]
        if node.life == life and node.stack is not None:
            self._queue.after(delay_us, self._arrive, (receiver,), datagram)

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
