"""One order of a recorded run, events and ledger, that may have been.

The bench reads each node's line by itself: the place of an event in the stream says nothing about events of other
nodes. What is certain:

* the order of one node's events, and of one disk's commands
* views: whoever has taken in a view does whatever it does then because of that view or an earlier one; so what nodes do
  with an earlier view may have been before what others do with a later one, and is told before
* an event that tells of a command (a key that was registered, a fence that was verified, a view that was read) comes
  after that command; for the rest the ledger is told as late as may be, so that nothing is held against an event that
  the disk has not done yet
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from guestd.fence.keys import life_of
from guestd.membership.records import Commit
from hil.checkers.disk_order import Fact, Keyed, Removed, facts
from hil.checkers.observation import Observation
from hil.checkers.rest import at_rest
from hil.view import BENCH_KINDS

if TYPE_CHECKING:
    from guestd.membership.position import Position
    from hil.checkers.recording import Recording
    from hil.view import Event

ENDS: Final = ("machine-stopped", "machine-crashed", "machine-reset")
"""Kinds of the bench after which a life is over."""

GAPS: Final = {"events-lost": "events were lost", "garbage": "there is a line that is no event"}
"""Kinds of the bench after which the rest of a life is not looked at, and why."""

HEAD: Final = frozenset({"n", "t", "kind", "node", "guest_n", "guest_t"})
"""Fields of an event that are the bench's."""

_BY_OTHERS: Final = ("forced-out", "reservation-conflict", "key-gone")


@dataclass
class RecordedLife:
    """A life of a node, as far as it has been told."""

    number: int
    life: int
    incarnation: int = 0


class Item(NamedTuple):
    """One event in the merged order; ``place``: of the ledger's facts that come before it."""

    event: Event
    life: RecordedLife
    fields: dict[str, Any]
    """What its node has said."""
    place: int = 0


class Recorded:
    """Tells one recording to checkers; a :class:`hil.checkers.checker.Bench`."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.events, self.notes = _whole(recording.events)
        provided = [Observation.EVENTS, Observation.MACHINES]
        self.facts: list[Fact] = []
        if recording.records is not None:
            provided.append(Observation.DISK)
            contents = recording.contents
            self.facts = facts(recording.records, recording.nodes, recording.cluster_id, contents)
            provided += [Observation.CONTENTS] if contents is not None else []
        if at_rest(self.events, recording.nodes, recording.timing):
            provided.append(Observation.REST)
        self._provides = tuple(provided)

    @property
    def provides(self) -> Sequence[Observation]:
        """What this recording has."""
        return self._provides

    def acknowledged(self, node: int, incarnation: int) -> Sequence[Position] | None:
        """Not recorded."""
        raise LookupError("what a stack has acknowledged is not recorded")

    def merged(self) -> Iterator[Item]:
        """The events of the nodes in the order that the module's header tells."""
        places = _Places(self.facts)
        queues = [iter(_clocked(self.events, node)) for node in range(self.recording.nodes)]
        heads = []
        for node, queue in enumerate(queues):
            if (head := next(queue, None)) is not None:
                heads.append((head[0], node, head))
        heapq.heapify(heads)
        while heads:
            _, node, (_, event, life) = heads[0]
            fields = {key: value for key, value in event.items() if key not in HEAD}
            yield Item(event, life, fields, places.before(event, life))
            if (head := next(queues[node], None)) is not None:
                heapq.heapreplace(heads, (head[0], node, head))
            else:
                heapq.heappop(heads)


class _Places:
    """Where in the ledger that is what an event tells of: so many facts come before it."""

    def __init__(self, ledger: Sequence[Fact]) -> None:
        self._keyed: dict[tuple[int, int], int] = {}
        self._removed: dict[tuple[int, int], int] = {}  # by another one, first
        self._over: dict[tuple[int, int], int] = {}  # its key is on no disk any more, for whatever reason
        self._committed: dict[tuple[int, int], int] = {}
        keys: dict[tuple[int, int], int] = {}  # LUN, node -> incarnation
        over: set[tuple[int, int, int]] = set()  # LUN, node, incarnation

        def is_over(lun: int, life: tuple[int, int], place: int) -> None:
            """Of each disk the first time counts, of all disks the last one."""
            if (lun, *life) not in over:
                over.add((lun, *life))
                self._over[life] = max(place, self._over.get(life, 0))

        for place, fact in enumerate(ledger, 1):
            if isinstance(fact, Keyed):
                where, life = (fact.lun, fact.node), (fact.node, fact.incarnation)
                if keys.get(where, fact.incarnation) != fact.incarnation:
                    is_over(fact.lun, (fact.node, keys[where]), place)
                keys[where] = fact.incarnation
                if not fact.lun:
                    self._keyed.setdefault(life, place)
            elif isinstance(fact, Removed):
                life = (fact.removal.node, fact.removal.incarnation)
                is_over(fact.lun, life, place)
                if fact.removal.by != fact.removal.node and not fact.lun:
                    self._removed.setdefault(life, place)
            elif isinstance(fact.record, Commit):
                self._committed.setdefault(fact.record.view.order, place)

    def before(self, event: Event, life: RecordedLife) -> int:
        """How many."""
        kind = event["kind"]
        if kind == "registered":
            return self._keyed.get(life_of(int(event["key"], 16)) or (-1, -1), 0)
        if kind == "fenced":
            return self._over.get((event["subject"], event["incarnation"]), 0)
        if kind == "panic" and event.get("cause") in _BY_OTHERS:
            return self._removed.get((life.number, life.incarnation), 0)
        if kind == "membership":
            out = [
                self._over.get((int(number), entry["incarnation"]), 0)
                for number, entry in event["nodes"].items()
                if entry["state"] == "forced-leaving"
            ]
            return max(self._committed.get((event["epoch"], event["step"]), 0), *out, 0)
        return 0


def _clocked(events: Sequence[Event], node: int) -> Iterator[tuple[tuple[int, int, int], Event, RecordedLife]]:
    """One node's events with the view that it has: (epoch, step, 0 for a master that takes in its own)."""
    life = RecordedLife(node, 0)
    clock = (0, 0)
    for event in events:
        if event.get("node") != node or (event["kind"] in BENCH_KINDS and event["kind"] not in ENDS):
            continue
        if event["kind"] == "guestd-started":
            life = RecordedLife(node, life.life + 1)
        elif not life.life:
            continue  # of a machine that waits to begin, or never did
        own = 1
        if event["kind"] == "membership":
            clock = max(clock, (event["epoch"], event["step"]))
            own = 0 if event["master"] == node else 1
        yield (*clock, own), event, life


def _whole(events: Sequence[Event]) -> tuple[list[Event], list[str]]:
    """What can be used: up to the end of the bench, and of a life no more than came without a gap; and notes."""
    used, notes = [], []
    lost: set[int] = set()
    for event in events:
        node = event.get("node", -1)
        if event["kind"] == "bench-stopping":  # what follows is the end of the machines
            used.append(event)
            break
        if event["kind"] == "guestd-started":
            lost.discard(node)
        if event["kind"] in GAPS and node not in lost:
            why = GAPS[event["kind"]]
            notes.append(f"event {event['n']}: {why} of node {node}; the rest of that life is not looked at")
            lost.add(node)
        if node not in lost or event["kind"] in BENCH_KINDS:
            used.append(event)
    return used, notes
