"""Generators of random numbers that do not disturb each other: one for each thing and each node.

Were there only one, a run without one of its faults, or with one rate at zero, would be another run altogether, and
nothing could be left out of a run that failed (:mod:`hil.sim.shrink`).
"""

from __future__ import annotations

import random
from collections.abc import Callable

Draw = Callable[[], float]


def child(parent: random.Random) -> random.Random:
    """A generator of its own, by the next number of ``parent``."""
    return random.Random(parent.getrandbits(64))


def draws(parent: random.Random, count: int) -> tuple[Draw, ...]:
    """``random()`` of so many generators of their own. Those of node 0 are asked for first, then those of node 1:
    so a node's are the same in a cluster of any size."""
    return tuple(child(parent).random for _ in range(count))
