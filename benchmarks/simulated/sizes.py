"""What a larger cluster costs, and a power failure of all its nodes at once."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

from hil.checkers.history import History
from hil.sim import speed
from hil.sim.claims import every_claim
from hil.sim.options import draw
from hil.sim.world import World

SIZES = (4, 8, 16, 32, 64)
QUIET_US = 5_000_000
_LOOK_US = 100_000
_BOUND_US = 120_000_000


class Cost(NamedTuple):
    """Of a cluster in which nothing happens: processor time for a simulated second."""

    nodes: int
    cpu_ms: float

    @property
    def per_node_ms(self) -> float:
        """Its share."""
        return self.cpu_ms / self.nodes


class Reboot(NamedTuple):
    """Of a cluster that lost power. ``views``: those that were committed; ``joins_together``: at once, at most."""

    nodes: int
    joined_s: float
    epochs: int
    views: int
    joins_together: int
    cpu_s: float

    @property
    def overlap(self) -> bool:
        """Whether nodes joined while others did."""
        return self.joins_together > 1


def measure(nodes: int) -> tuple[Cost, Reboot]:
    """A cluster that has come together and is left alone for a while, then loses power and comes back."""
    options = draw(1, "performance", nodes)
    with speed.installed():
        checkers = every_claim()
        history = next(checker for checker in checkers if isinstance(checker, History))
        world = World(replace(options, boot_ms_max=3000), checkers)
        world.begin()
        _run_until_joined(world)
        began = time.process_time()
        world.queue.run_until(world.queue.now_us + QUIET_US)
        cost = Cost(nodes, (time.process_time() - began) * 1000 / (QUIET_US / 1e6))
        before = set(history.views)
        lost_us = world.queue.now_us
        began = time.process_time()
        for node in world.nodes:
            node.power_off()
            world.boot_later(node)
        _run_until_joined(world)
        views = [view for order, view in history.views.items() if order not in before]
        reboot = Reboot(
            nodes=nodes,
            joined_s=(world.queue.now_us - lost_us) / 1e6,
            epochs=len({view.epoch for view in views}),
            views=len(views),
            joins_together=max(sum(one.state.value == "joining" for one in view.entries) for view in views),
            cpu_s=time.process_time() - began,
        )
    return cost, reboot


def _run_until_joined(world: World) -> None:
    end_us = world.queue.now_us + _BOUND_US
    while (why := world.why_not_converged()) is not None:
        assert world.queue.now_us < end_us, f"{len(world.nodes)} nodes: not within {_BOUND_US / 1e6} s: {why}"
        world.queue.run_until(world.queue.now_us + _LOOK_US)
