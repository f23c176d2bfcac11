"""The simulated interconnect: who hears a broadcast, when, and how often (header of `hil/sim/network.py`)."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace
from typing import Any

import pytest

from guestd.core.inputs import Datagram
from hil.sim.network import Network
from hil.sim.options import draw
from hil.sim.queue import Queue
from hil.sim.trace import Trace

SENT = 2000
Heard = tuple[int, int, bytes]  # when (µs), who, what


class Listener:
    """Stands where a node does, and writes down what it hears."""

    def __init__(self, number: int, queue: Queue, heard: list[Heard]) -> None:
        self.number, self.life = number, 1
        self.stack: object | None = self
        self._queue, self._heard = queue, heard

    def give(self, life: int, given: Datagram) -> None:
        assert life == self.life
        self._heard.append((self._queue.now_us, self.number, given.payload))


class Link:
    """Four nodes at a network with these rates."""

    def __init__(self, **rates: Any) -> None:
        self.queue = Queue()
        self.heard: list[Heard] = []
        options = replace(draw(1, "performance", 4), delay_us_max=1000, **rates)
        self.network = Network(self.queue, random.Random(1), options, Trace(self.queue))
        self.nodes = [Listener(number, self.queue, self.heard) for number in range(4)]
        self.network.connect(self.nodes)  # type: ignore[arg-type]  # nodes, as far as the network looks

    def send(self, sender: int = 0, payload: bytes = b"say", **how: int) -> list[int]:
        """Who heard it, in their order."""
        before = len(self.heard)
        self.network.send(sender, payload, **how)
        self.queue.run_until(self.queue.now_us + 1_000_000)
        return sorted(node for _, node, _ in self.heard[before:])

    def send_many(self) -> list[Heard]:
        """Numbered ones, a millisecond apart."""
        for number in range(SENT):
            self.network.send(0, number.to_bytes(4, "big"))
            self.queue.run_until(self.queue.now_us + 1000)
        self.queue.run_until(self.queue.now_us + 1_000_000)
        return self.heard


def test_a_broadcast_comes_to_all_others_that_run_within_its_delay() -> None:  # S5.1
    link = Link()
    link.nodes[2].stack = None
    assert link.send(1, b"hello") == [0, 3]
    assert all(at < 1000 and payload == b"hello" for at, _, payload in link.heard)


def test_a_cut_is_one_way_and_lasts_until_every_fault_is_healed() -> None:  # A6, A7
    link = Link()
    link.network.cut([(0, 1)])
    link.network.cut([(0, 1), (0, 2)])
    assert (link.send(0), link.send(1), link.network.whole) == ([3], [0, 2, 3], False)
    link.network.heal([(0, 1), (0, 2)])
    assert link.send(0) == [2, 3]
    link.network.heal([(0, 1)])
    assert (link.send(0), link.network.whole) == ([1, 2, 3], True)
    assert link.network.counts["cut"] == 3


def test_a_sender_that_dies_reaches_some() -> None:  # A2
    link = Link()
    assert link.send(0, only=0b1010) == [1, 3]
    assert link.send(0, only=0) == []


@pytest.mark.parametrize("rate", ["loss_share", "duplicate_share"])
def test_loss_and_duplication_strike_each_receiver_by_itself(rate: str) -> None:  # S5.1
    link = Link(**{rate: 200, "late_ms_max": 5})
    heard = link.send_many()
    lost = rate == "loss_share"
    for node in (1, 2, 3):
        count = sum(one == node for _, one, _ in heard)
        struck = SENT - count if lost else count - SENT
        assert 0.15 * SENT < struck < 0.25 * SENT
    by_node = [{payload for _, one, payload in heard if one == node} for node in (1, 2, 3)]
    assert (by_node[0] != by_node[1]) is lost
    kind = "lost" if lost else "duplicated"
    assert link.network.counts[kind] == (3 * SENT - len(heard) if lost else len(heard) - 3 * SENT)


def test_what_is_late_comes_after_later_ones_but_not_later_than_it_may() -> None:  # S5.1
    link = Link(late_share=100, late_ms_max=50)
    heard = link.send_many()
    assert len(heard) == 3 * SENT
    numbers = [int.from_bytes(payload, "big") for _, node, payload in heard if node == 1]
    assert numbers != sorted(numbers)
    assert max(at - 1000 * int.from_bytes(payload, "big") for at, _, payload in heard) in range(20_000, 50_000)


def test_no_rate_no_fault() -> None:
    link = Link()
    assert len(link.send_many()) == 3 * SENT
    assert link.network.counts == {"sent": SENT, "told": 0, "cut": 0, "lost": 0, "late": 0, "duplicated": 0}


def test_the_digest_tells_what_a_datagram_says() -> None:  # S10.9
    def digest(said: bytes) -> str:
        queue = Queue()
        trace = Trace(queue)
        network = Network(queue, random.Random(1), draw(1, "performance", 4), trace)
        network.connect([])
        network.send(0, said + zlib.crc32(said).to_bytes(4, "little"))  # as all datagrams do
        return trace.hexdigest()

    assert digest(b"this") == digest(b"this") != digest(b"that")
