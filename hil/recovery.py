"""What a loss of a node cost, stage by stage: from the loss until its services run elsewhere (spec S5, S6.2, S4, S9.5).

====================  ==============================================================================================
detect                until the first node asks for an epoch without the lost one
elect                 until its key is about to be removed from the disk, or the election is won without that
fence                 until that is verified, and the epoch has begun
recover               until the levels below the event manager have recovered
launch                until every service that ran there is registered again; left out where there was none
====================  ==============================================================================================

A pure function of the event stream. A loss that nobody has noticed by the end of the stream is none of these.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hil.view import Event
from hil.view_services import DEREGISTERED, REMOVED, subject_of

STAGES: Final = ("detect", "elect", "fence", "recover", "launch")
EVENT_MANAGER: Final = 40
_WORDS: Final = {
    "machine-stopped": "machine stopped",
    "machine-crashed": "machine crashed",
    "machine-reset": "machine reset",
    "machine-paused": "machine paused",
    "guestd-exited": "guestd ended",
    "panic": "panic",
}
_SILENT: Final = "silent"


@dataclass
class Recovery:
    """After the loss of one life of a node. Times in seconds of the stream."""

    victim: int
    epoch: int
    """The one that begins without it."""
    begun_t: float
    begun_n: int
    """Number of the event of the loss."""
    why: str
    ends: dict[str, float] = field(default_factory=dict)
    """Stage to when it was over, ascending; a stage that is missing was not over when the stream ended."""
    services: tuple[str, ...] = ()
    """Those that were lost with it."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """The stages that it has: no launch without a service."""
        return STAGES if self.services else STAGES[:-1]

    @property
    def complete(self) -> bool:
        """Whether all stages were over."""
        return len(self.ends) == len(self.wanted)

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took that was over."""
        told, begun = {}, self.begun_t
        for stage, end in self.ends.items():
            told[stage] = end - begun
            begun = end
        return told


def recoveries(events: Iterable[Event]) -> list[Recovery]:
    """Of every life that the others forced out, in the order in which those epochs began."""
    follower = _Follower()
    for event in events:
        if (hears := _HEARS.get(event["kind"])) is not None:
            hears(follower, event)
    return follower.found


class _Loss(NamedTuple):
    t: float
    n: int
    why: str


class _Follower:
    """Reads the stream once."""

    def __init__(self) -> None:
        self.found: list[Recovery] = []
        self._open: dict[int, Recovery] = {}  # the newest one of each victim
        self._losses: dict[int, list[_Loss]] = {}  # of each node what may be why it is lost and is not over, by time
        # Since the last election was won:
        self._bids: list[Event] = []
        self._preempted: dict[int, float] = {}
        self._fenced: dict[int, float] = {}
        # Service to its live registrations and their nodes; victim to the services and registrations that it had and
        # that are not there again.
        self._live: dict[str, dict[int, int | None]] = {}
        self._lost: dict[int, dict[str, int]] = {}

    def lost(self, event: Event) -> None:
        """Of that node nothing is to be expected any more, or nothing for a while."""
        self._note(event["node"], event["t"], event["n"], _WORDS[event["kind"]])

    def fault(self, event: Event) -> None:
        """A fault of one node may be why the others lose it."""
        if isinstance(event.get("node"), int):
            self._note(event["node"], event["t"], event["n"], str(event["fault"]))

    def over(self, event: Event) -> None:
        """Of what is over nobody is lost."""
        node = event.get("node")
        if isinstance(node, int):
            why = event.get("fault", _WORDS["machine-paused"])
            self._losses[node] = [loss for loss in self._losses.get(node, []) if loss.why != why]

    def state(self, event: Event) -> None:
        """What befell its earlier life is no loss of one that has joined; a fault may still be."""
        if event["state"] == "joined":
            of_a_life = {*_WORDS.values(), _SILENT}
            self._losses[event["node"]] = [
                one for one in self._losses.get(event["node"], []) if one.why not in of_a_life
            ]

    def silent(self, event: Event) -> None:
        """What the others noticed first, where nothing else explains the loss."""
        if not self._losses.get(event["subject"]):
            self._note(event["subject"], event["t"] - event.get("for_ms", 0) / 1000, event["n"], _SILENT)

    def heard(self, event: Event) -> None:
        """It was silent for a while, no more."""
        self._losses[event["subject"]] = [one for one in self._losses.get(event["subject"], []) if one.why != _SILENT]

    def bid(self, event: Event) -> None:
        """Somebody asks for an epoch."""
        self._bids.append(event)

    def preempted(self, event: Event) -> None:
        """The removal of a key begins with the first one."""
        self._preempted.setdefault(event["subject"], event["t"])

    def fenced(self, event: Event) -> None:
        """Verified."""
        self._fenced[event["subject"]] = event["t"]

    def elected(self, event: Event) -> None:
        """An epoch begins, perhaps without some who were in the last one."""
        for victim in event.get("victims", ()):
            self._begin(victim, event)
        self._bids, self._preempted, self._fenced = [], {}, {}

    def level_complete(self, event: Event) -> None:
        """All nodes have recovered at that level."""
        found = self._open.get(event["subject"])
        if found is not None and event["transition"] == "forced-leave" and event["level"] < EVENT_MANAGER:
            _end(found, "recover", event["t"])

    def service(self, event: Event) -> None:
        """Whether one is back that was lost."""
        name, state = str(event["service"]), event["state"]
        live = self._live.setdefault(name, {})
        if state == REMOVED:
            live.clear()
        elif state == DEREGISTERED:
            live.pop(event["registration"], None)
        else:
            live[event["registration"]] = subject_of(event)
        if state not in ("registered", REMOVED):
            return
        for victim, lost in self._lost.items():
            if name in lost and (state == REMOVED or event["registration"] > lost[name]):
                del lost[name]
                if not lost:
                    _end(self._open[victim], "launch", event["t"])

    def _note(self, node: int, t: float, n: int, why: str) -> None:
        insort(self._losses.setdefault(node, []), _Loss(t, n, why))

    def _begin(self, victim: int, elected: Event) -> None:
        before = [bid["t"] for bid in self._bids]
        asked = min(before, default=elected["t"])
        loss = next(iter(self._losses.get(victim, [])), _Loss(asked, elected["n"], "not told"))
        bids = [t for t in before if t >= loss.t]
        # One that runs on other nodes, too, is not away.
        lost = {name: max(live) for name, live in sorted(self._live.items()) if set(live.values()) == {victim}}
        found = Recovery(victim, elected["epoch"], loss.t, loss.n, loss.why, services=tuple(lost))
        _end(found, "detect", min(bids, default=loss.t))
        _end(found, "elect", min(self._preempted.get(victim, elected["t"]), elected["t"]))
        _end(found, "fence", max(self._fenced.get(victim, elected["t"]), elected["t"]))
        self.found.append(found)
        self._open[victim] = found
        self._lost[victim] = lost
        self._losses[victim] = []


def _end(found: Recovery, stage: str, t: float) -> None:
    """It was over then at the earliest; no stage ends before the one before it."""
    known = [end for other, end in found.ends.items() if STAGES.index(other) <= STAGES.index(stage)]
    found.ends[stage] = max(t, found.begun_t, *known)
    found.ends = {one: found.ends[one] for one in STAGES if one in found.ends}


_HEARS: Final[dict[str, Callable[[_Follower, Event], None]]] = {
    **dict.fromkeys(_WORDS, _Follower.lost),
    "fault-injected": _Follower.fault,
    "fault-healed": _Follower.over,
    "machine-resumed": _Follower.over,
    "state": _Follower.state,
    "silent": _Follower.silent,
    "heard": _Follower.heard,
    "bid": _Follower.bid,
    "preempted": _Follower.preempted,
    "fenced": _Follower.fenced,
    "elected": _Follower.elected,
    "level-complete": _Follower.level_complete,
    "service": _Follower.service,
}
