"""By what the cluster's times are multiplied on this machine (`guestd/core/timing.py` has the times themselves).

The times are for KVM on a core of today. What lengthens them is measured, once per boot of the host: how slow a core is
(`hil.machine`), and how many emulated nodes share one. A node that is late by more than ``death_ms`` is forced out, so
the factor must cover how long a node is late now and then; and each tenth of it is paid with each silent loss.

Three emulated nodes on two cores get 2.5, which is a ``death_ms`` of 3 s. Of six on two cores, two clusters of three
that booted at the same time, none was late by 4 s in 10 boots; of nine, one was, in 12 (`hil/capacity.py`). A cluster
of six gets 6 s there, one of nine 9 s. Of the neighbours of a cluster the factor knows nothing.
"""

from __future__ import annotations

from hil.capacity import cores
from hil.host import Host
from hil.machine import speed_factor

FACTOR_MIN, FACTOR_MAX = 1.0, 10.0
"""A fast machine is not hurried; beyond ten, silence is no way to tell the dead any more."""

TCG_FACTOR = 2.5
"""For emulated nodes, as long as there are no more than :data:`NODES_PER_CORE`."""

NODES_PER_CORE = 1.5
"""Emulated nodes. Those that boot side by side stall each other, the longer the more there are."""


def timing_factor(kind: str, nodes: int, host: Host | None = None) -> float:
    """The factor for a cluster of that many nodes, run by ``kind`` ("kvm" or "tcg"); 1 to 10."""
    return factor(speed_factor("kvm"), kind, nodes, cores(host or Host()))


def factor(speed: float, kind: str, nodes: int, core_count: float) -> float:
    """The same on cores that need ``speed`` times as long as the reference machine's; at two decimals."""
    emulation = TCG_FACTOR * max(1.0, nodes / (NODES_PER_CORE * core_count)) if kind == "tcg" else 1.0
    return round(min(FACTOR_MAX, max(FACTOR_MIN, speed * emulation)), 2)
