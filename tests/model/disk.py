"""The shared disk: registrations, one sector per node and record, and the writes that it has accepted but not done.

Who may write and what a service action does to the registrations is asked of the target's own code
(`hil.scsi.reservations`). A write is judged when the disk accepts it; it lands at any time later, or never, in any
order, unless a PREEMPT AND ABORT aborts it. A write that did not reach the disk before its node crashed never will: the
new life's login ends the old session (`hil/scsi/target.py`). Reads and service actions are done at once.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from hil.scsi import reservation_access
from hil.scsi.reservations import Conflict, Request, State, Type, change

Nexus = tuple[int, int]  # node, and its life if every life is a nexus of its own, else 0

RESERVE, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE = 1, 4, 5, 6
WRITE = b"\x2a" + bytes(9)


class Write(NamedTuple):
    """A write that the disk has accepted."""

    node: int
    life: int
    record: str  # "contest" or "commit": which of the node's sectors
    value: Any


class Registrations(NamedTuple):
    """Who is registered with which key, sorted; the type of the reservation (0: none), and who holds it."""

    keys: tuple[tuple[Nexus, int], ...]
    kind: int = 0
    holder: Nexus | None = None  # None with type 7, too: all registrants are holders

    def key(self, nexus: Nexus) -> int:
        """0: not registered."""
        return next((key for other, key in self.keys if other == nexus), 0)

    def registered(self, key: int) -> bool:
        """READ KEYS."""
        return any(other == key for _, other in self.keys)

    def keys_of(self, node: int) -> tuple[int, ...]:
        """All keys of a node: a key says whose it is."""
        return tuple(key for _, key in self.keys if key >> 8 == node + 1)


class Disk(NamedTuple):
    """`contests` and `commits` by node; None: never written."""

    registrations: Registrations
    contests: tuple[Any, ...]
    commits: tuple[Any, ...]
    queue: tuple[Write, ...] = ()

    def accept(self, write: Write) -> Disk:
        """The write is in the queue."""
        return self._replace(queue=tuple(sorted((*self.queue, write), key=lambda one: one[:3])))

    def land(self, write: Write) -> Disk:
        """The write is done."""
        queue = tuple(other for other in self.queue if other is not write)
        if write.record == "contest":
            return self._replace(queue=queue, contests=put(self.contests, write.node, write.value))
        return self._replace(queue=queue, commits=put(self.commits, write.node, write.value))


def key_of(node: int, life: int) -> int:
    """The key is one node's incarnation (spec S6.3)."""
    return (node + 1) << 8 | life


def put(values: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    """The tuple with one value changed."""
    return (*values[:place], value, *values[place + 1 :])


@cache
def serve(
    registrations: Registrations, action: int, nexus: Nexus, key: int, action_key: int = 0, kind: int = 0
) -> tuple[Registrations, frozenset[Nexus]] | None:
    """The target's answer to PERSISTENT RESERVE OUT: what is registered then, and whose writes were aborted.

    kind: the type in the command, that of the reservation if 0. None: RESERVATION CONFLICT.
    """
    request = Request(_name(nexus), key, action_key, kind or registrations.kind)
    try:
        done = change(_state(registrations), action, request)
    except Conflict:
        return None
    after = done.state
    keys = tuple(sorted((_nexus(other), number) for other, number in after.keys.items()))
    holder = None if after.holder is None else _nexus(after.holder)
    return Registrations(keys, int(after.type or 0), holder), frozenset(map(_nexus, done.aborted))


@cache
def may_write(registrations: Registrations, nexus: Nexus) -> bool:
    """Whether the disk accepts a write."""
    return not reservation_access.conflicts(_state(registrations), _name(nexus), WRITE)


def _state(registrations: Registrations) -> State:
    keys = {_name(nexus): key for nexus, key in registrations.keys}
    kind, holder = registrations.kind, registrations.holder
    return State(keys, Type(kind) if kind else None, None if holder is None else _name(holder))


def _name(nexus: Nexus) -> tuple[str, str]:
    return f"iqn.model:{nexus[0]}", str(nexus[1])


def _nexus(name: tuple[str, str]) -> Nexus:
    return int(name[0].partition(":")[2]), int(name[1])
