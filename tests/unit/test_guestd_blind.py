"""What a node saw on the disk does not get older while it sees nothing there (spec S5.3)."""

from __future__ import annotations

import pytest

from guestd.core.config import Config
from guestd.core.context import Context
from guestd.core.timing import GAP_PERIODS_MAX, Timing
from guestd.membership import datagram
from guestd.membership.observer import Observer
from guestd.membership.records import Heartbeat
from guestd.membership.states import NodeState
from guestd.membership.suspicion import Suspicion
from guestd.membership.view import Entry, View

TIMING = Timing()
ALL = 0b111
VIEW = View(2, 6, 0, tuple(Entry(NodeState.JOINED, 1) for _ in range(3)))


class Watching:
    """Node 0, which hears both others. On the disk node 2 says that it hears nobody, as it does when it has begun."""

    def __init__(self) -> None:
        self.context = Context(Config(bytes(16), "demo", 3), 0)
        self.observer = Observer(0, 3, TIMING)
        self.suspicion = Suspicion(self.context, self.observer)
        self.sequence = 0

    def run(self, until_ms: int, *, sees: bool) -> int | None:
        """Up to that time; ``sees``: the disk. The group that goes on, as soon as there is one."""
        for now_ms in range(self.context.now_ms + 50, until_ms + 1, 50):
            self.context.now_ms = now_ms
            self.sequence += 1
            for node in (1, 2):
                self.observer.heard(datagram.Say(node, 1, self.sequence, ALL, "none", (), None))
            if sees and now_ms % TIMING.disk_heartbeat_ms == 0:
                beats = [Heartbeat(1, self.sequence, NodeState.JOINED, "none", 2, 6, ALL, False) for _ in range(3)]
                beats[2] = Heartbeat(1, self.sequence, NodeState.JOINED, "none", 2, 6, 0b100, False)
                self.observer.read(beats, now_ms)
            if now_ms % TIMING.heartbeat_ms == 0:
                self.observer.tick(now_ms)
                self.suspicion.update(VIEW)
                group = self.suspicion.group(VIEW)
                if group is not None:
                    return group
        return None


def test_a_broken_link_that_is_seen_for_long_enough_is_acted_upon() -> None:  # S5.2
    watching = Watching()
    assert watching.run(5000, sees=True) == 0b011
    assert watching.context.now_ms <= 3 * TIMING.disk_heartbeat_ms + TIMING.broken_ms


@pytest.mark.parametrize("blind_ms", [TIMING.broken_ms, 2 * TIMING.death_ms, 60_000])
def test_one_that_was_seen_before_the_disk_was_lost_is_not(blind_ms: int) -> None:  # S5.3, A5
    watching = Watching()
    assert watching.run(500, sees=True) is None
    assert watching.run(500 + blind_ms, sees=False) is None


def test_the_clock_of_what_is_seen_stands_while_nothing_is_and_goes_on_then() -> None:
    observer = Observer(0, 3, TIMING)
    longest_ms = GAP_PERIODS_MAX * TIMING.disk_heartbeat_ms
    assert observer.sighted_ms(700) == 700
    observer.read([None] * 3, 1000)
    assert observer.sighted_ms(1000 + longest_ms) == 1000 + longest_ms
    assert observer.sighted_ms(9000) == 1000 + longest_ms
    observer.read([None] * 3, 9000)
    assert observer.sighted_ms(9250) == 1250 + longest_ms
