"""What a checker may know of a run: a small vocabulary that simulated and real clusters both speak.

A person with a logic analyser could know as much: what the nodes tell, what happens on the disk, what becomes of the
machines. A back end hands each observation to all checkers (:class:`hil.checkers.checker.Checker`), in an order that is
certain: the simulator in the one order in which everything happens, a recorded run in one of the orders in which it may
have happened (:mod:`hil.checkers.recorded`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol


class Observation(Enum):
    """What there is to observe. The value says it to a person who reads that a claim lacks it."""

    EVENTS = "the events of the nodes"
    DISK = "writes, registrations and removals in the order of the disk"
    CONTENTS = "what the writes wrote (keep_data = true in the cluster file keeps it)"
    MACHINES = "boots, panics and losses of power"
    TOLD = "what a program hears over its connection"
    ACKNOWLEDGED = "at the moment of each commit what every node has acknowledged"
    INSIDE = "what only a simulator sees: that a node runs on though the disk refused its write, say"
    REST = "an end at which nothing is wrong any more and all nodes are joined"


class Life(Protocol):
    """A node's machine and its present boot. The simulator's nodes are such, and are handed over as they are."""

    number: int
    life: int
    """Boots are counted from 1."""
    incarnation: int
    """0 until the key is registered."""


class Removal(NamedTuple):
    """A registration that was ended by another nexus, or by its own abort."""

    node: int  # whose it was
    incarnation: int
    by: int


class Listener(Protocol):
    """A program of one life of a node."""

    node: Life
    life: int
    name: str
    barriers: dict[str, int]
    notified: Sequence[tuple[int, int, str, int]]
    """Of the last notification: each (node, incarnation, transition, barrier)."""
    states: Sequence[str]
    """Of it: the state of every node."""
