"""Reads the faults out of a run's events, one after the other: injections, and what was done without the library.

Whatever it was, it becomes a fault of the library: a verb of the bench does the same to the cluster as the kind that
is built upon it (docs/faults.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from guestd.core.timing import Timing
from hil.evidence.book import KEEPS_DOWN, Book
from hil.evidence.cuts import Cuts
from hil.evidence.found import Found
from hil.faults.plan import OPERATOR_S
from hil.scsi.faults.kinds import KINDS as DISK_KINDS
from hil.scsi.faults.selection import name_of
from hil.view import View

if TYPE_CHECKING:
    from hil.view import Event

_ORDERS: Final = {"panic": "panic", "leave": "shutdown"}
_MAY_JOIN: Final = ("membership", "state", "checkpoint-restored")
_ENDS: Final = ("machine-stopped", "machine-crashed", "machine-reset", "guestd-exited")
_INSTANT_S: Final = 0.001
"""What waits for a machine to start comes so much after that."""
_AFTER_S: Final = 0.002
"""So much later than in the recording is what came after a panic, that it is after it by the millisecond, too."""


class Reading:
    """Of the run of so many nodes. ``found``: its faults in the order in which they began.

    ``operator``: a plan's operator is taken for one; else what it did are faults, as what anybody else does.
    """

    def __init__(self, nodes: int, *, operator: bool = True) -> None:
        self.view = View(nodes)
        self.numbers = range(nodes)
        self.found: list[Found] = []
        self.left_out: list[str] = []
        self.book = Book()
        self.began_s: float | None = None
        self.joined_s: list[float] = []
        """When all nodes had joined, and when again after some had been down."""
        self.crashed_s: list[tuple[float, int]] = []
        """When which node has panicked."""
        self._late_s = 0.0
        self.master: int | None = None
        self.end_s = 0.0
        self.operated = False
        """A plan had an operator who switched on whoever had panicked."""
        self.revived = False
        """Somebody else has, too."""
        self._operator = operator
        self._operator_until_s = 0.0
        self._operator_after_s = 0.0
        self._down: dict[int, list[Found]] = {}
        """What is over when the node is switched on."""
        self._cuts = Cuts(self.found)
        self._carriers: dict[int, Found] = {}
        self._of_life: dict[int, list[Found]] = {}
        """Of the node's present life: it stands still, or is slow."""
        self._disk: dict[int, Found] = {}
        """By the number of the target."""
        self._loss: Found | None = None
        self._waiting: dict[int, list[Found]] = {}
        """Done to a machine that is off: it begins when the machine starts."""
        self._is_whole = False
        """All have joined, and no machine has ended since."""
        self._crashed: set[int] = set()
        """Who has panicked, and was not switched off since."""

    def take(self, event: Event) -> None:
        """The next event. Raises one of ``hil.view.MALFORMED``."""
        event = {**event, "t": event["t"] + self._late_s}
        kind = event["kind"]
        if kind == "checkpoint-restored":  # what came before was another run
            fresh = Reading(len(self.numbers), operator=self._operator)
            self.__dict__.update(fresh.__dict__ | {"view": self.view})
            self.left_out.append("the run went on from a checkpoint: what it began with is not played")
        if kind != "fault-injected" or event["fault"] != "link-silent" or "others" not in event:
            self._cuts.end_split()
        handler = self._HANDLERS.get(kind)
        if handler is not None:
            handler(self, event)
        self.view.apply(event)
        self.end_s = event["t"]
        if self.began_s is None and kind in ("machine-starting", "checkpoint-restored"):
            self.began_s = event["t"]
        self._is_whole = self._is_whole and kind not in _ENDS
        if not self._is_whole and kind in _MAY_JOIN and self.view.why_not_joined(list(self.numbers)) is None:
            if not self.joined_s:
                self.master = self.view.master
            self._is_whole = True
            self.joined_s.append(event["t"])

    def finish(self) -> None:
        """There are no more events. Of ``found`` those are left that are to be played."""
        self._cuts.finish(len(self.numbers))
        self.book.cut_short()
        self.left_out += self.book.failed
        self.found = [one for one in self.found if one.held]

    def _open(self, event: Event, kind: str, *nodes: int, at_s: float | None = None, **parameters: Any) -> Found:
        found = Found(kind, nodes, event["t"] if at_s is None else at_s, parameters)
        self.found.append(found)
        return found

    def _strike(self, event: Event, kind: str, node: int, **parameters: Any) -> Found:
        """A fault of a machine, which may be off: then there is nothing to strike before it starts."""
        found = self._open(event, kind, node, **parameters)
        if self.view.nodes[node].power == "off":
            found.held = False
            self._waiting.setdefault(node, []).append(found)
        return found

    def _skip(self, event: Event, what: str, why: str) -> None:
        self.left_out.append(f"event {event['n']}: {what}: {why}")

    # -- faults of the library

    def _injection(self, event: Event) -> None:
        if event["step"] != "begun":
            self.book.goes_on(event)
            return
        found = self.book.begun(event)
        self.found.append(found)
        for node in found.nodes if found.kind in KEEPS_DOWN else ():
            self._down.setdefault(node, []).append(found)

    # -- power

    def _power(self, event: Event) -> None:
        changed = sorted(event["changed"])
        own = self.book.has_switched(event["action"], event["nodes"])
        for node in changed:
            if event["action"] == "off":
                self._off(event, node, own=own)
            else:
                self._on(event, node, own=own)
        self._crashed -= set(changed)

    def _off(self, event: Event, node: int, *, own: bool) -> None:
        at_s = event["t"] - event["spread_s"]
        self._life_ends(node, at_s)
        known = self._down.setdefault(node, [])
        if own or (node in self._crashed and any(one.kind == "panic" for one in known)):
            return  # who was ordered to panic is switched on by the end of that fault
        if node in self._crashed and self._is_operated(event):
            return
        self.revived |= node in self._crashed
        known.append(self._open(event, "power-off", node, at_s=at_s))

    def _on(self, event: Event, node: int, *, own: bool) -> None:
        known = self._down.pop(node, [])
        for fault in known:
            fault.over(event["t"], node)
        if not known and not own and self.view.nodes[node].ends and not self._is_operated(event):
            # It had gone off by itself.
            self.revived = True
            self._open(event, "power-off", node).over(event["t"])

    def _is_operated(self, event: Event) -> bool:
        """Whether a plan is played whose operator switches on whoever is off."""
        return self._operator and event["t"] <= self._operator_until_s

    def _plan(self, event: Event) -> None:
        if event["step"] == "over":  # who was silent until now may be forced out for it yet
            if self.operated:
                self._operator_until_s = event["t"] + self._operator_after_s
        elif event["operator"]:
            self.operated, self._operator_until_s = True, math.inf

    def _starting(self, event: Event) -> None:
        for fault in self._waiting.pop(event["node"], []):
            if fault.end_s is None:
                fault.held, fault.at_s = True, event["t"] + _INSTANT_S

    def _started(self, event: Event) -> None:
        times = Timing(**event["timing"])
        self._operator_after_s = (times.death_ms + times.agreed_ms_max) / 1000 + OPERATOR_S

    def _has_crashed(self, event: Event) -> None:
        self._crashed.add(event["node"])
        self.crashed_s.append((event["t"], event["node"]))
        self._late_s += _AFTER_S

    def _reset(self, event: Event) -> None:
        node = event["node"]
        if self.view.nodes[node].power == "off":  # two threads report: its plug was pulled since
            return
        self._life_ends(node, event["t"])
        if self.book.claim("reset", node) is None:
            self._open(event, "reset", node).over(event["t"])

    def _order(self, event: Event) -> None:
        order, node = event["order"], event["node"]
        if order in _ORDERS and not self.book.has_ordered(order, node):
            reason = {"reason": event["reason"]} if order == "panic" and event.get("reason") else {}
            self._down.setdefault(node, []).append(self._open(event, _ORDERS[order], node, **reason))

    def _life_ends(self, node: int, at_s: float) -> None:
        """What stands still, or is slow, is gone with the machine."""
        for fault in self._of_life.pop(node, []):
            fault.over(at_s, node)

    # -- what the bench tells of faults

    def _injected(self, event: Event) -> None:
        name, node = event["fault"], event.get("node")
        if name.startswith("disk-"):
            self._disk_fault(event)
        elif "number" in event:  # of the library, which has told of it
            pass
        elif name == "link-silent":
            self._cut(event)
        elif name == "link-carrier":
            self._carrier(event)
        elif name == "datagram-loss":
            self._lose(event)
        elif name.startswith("freeze-"):
            fault = self.book.claim(name, node) or self._open(event, name, event["node"])
            self._of_life.setdefault(event["node"], []).append(fault)
        elif name == "slow-cpu":
            self._slow(event)
        else:
            self._skip(event, name, "the library has no such kind")

    def _healed(self, event: Event) -> None:
        name, t = event["fault"], event["t"]
        if name.startswith("disk-"):
            self._disk_healed(event)
        elif "number" in event:
            fault = self.book.of(event["number"])
            if fault is not None:
                fault.over(t, event["node"])
        elif name == "link-silent":
            self._cuts.over(event["node"], t)
        elif name == "link-carrier":
            carrier = self._carriers.pop(event["node"], None)
            if carrier is not None:
                carrier.over(t, event["node"])
        elif name == "datagram-loss":
            self._loss_ends(t)
        else:
            kept = []
            for fault in self._of_life.pop(event["node"], []):
                if fault.kind == name:
                    fault.over(t, event["node"])
                else:
                    kept.append(fault)
            self._of_life[event["node"]] = kept

    def _slow(self, event: Event) -> None:
        node = event["node"]
        fault = self.book.claim("slow-cpu", node)
        if fault is None:
            if "ms" not in event:  # recorded by an older version
                self._skip(event, "slow-cpu", "the recording does not say how slow")
                return
            ms = max(1, round(event["ms"]))
            if ms != event["ms"]:
                self._skip(event, f"slow-cpu of {event['ms']:g} ms", f"played as {ms} ms: the library has whole ones")
            for one in self._of_life.get(node, []):
                if one.kind == "slow-cpu":  # the new cost takes the place of the one before
                    one.over(event["t"], node)
            fault = self._open(event, "slow-cpu", node, ms=ms)
        self._of_life.setdefault(node, []).append(fault)

    # -- the interconnect

    def _carrier(self, event: Event) -> None:
        node = event["node"]
        fault = self.book.claim("link-carrier", node)
        if fault is None and node in self._carriers:  # it was down already
            return
        self._carriers[node] = fault or self._strike(event, "link-carrier", node)

    def _cut(self, event: Event) -> None:
        node, direction, others = event["node"], event["direction"], event.get("others")
        given: dict[str, Any] = {} if direction == "both" else {"direction": direction}
        if others is not None:
            given["others"] = sorted(others)
        self._cuts.cut(self._strike(event, "link-silent", node, **given))

    def _lose(self, event: Event) -> None:
        """Of all datagrams; whoever is off now loses what it sends to those that are not."""
        self._loss_ends(event["t"])
        if "share" not in event:  # recorded by an older version
            self._skip(event, "datagram-loss", "the recording does not say which share")
            return
        on = [node.id for node in self.view.nodes if node.power in ("running", "paused")]
        given: dict[str, Any] = {} if len(on) == len(self.numbers) else {"others": list(self.numbers)}
        share = max(1, round(event["share"] * 1000))
        if on:
            self._loss = self._open(event, "link-loss", *on, share=share, **given)
        else:
            self._skip(event, "datagram-loss", "no machine was on")

    def _loss_ends(self, t: float) -> None:
        if self._loss is not None:
            self._loss.over(t)
            self._loss = None

    # -- the disk

    def _disk_fault(self, event: Event) -> None:
        name, node = event["fault"], event.get("node")
        fault = self.book.claim(name, node)
        if fault is None:
            kind = DISK_KINDS[name.removeprefix("disk-")]
            given = {**(event.get("parameters") or {})}
            given |= {key: event[key] for key in ("lba", "lun", "count") if event.get(key) is not None}
            struck = set(event.get("directions") or ())
            if struck != {one.value for one in kind.usual or kind.directions}:
                direction = name_of(struck)
                if direction is None:
                    self._skip(event, name, f"the library has it not for {', '.join(sorted(struck))} together")
                    return
                given["direction"] = direction
            if node is None and "count" in given:
                self._skip(event, name, "its count is of each node when it is played, not of all together")
            fault = self._open(event, name, *self.numbers, **given) if node is None else None
            fault = fault or self._strike(event, name, event["node"], **given)
            fault.unseen = True
        self._disk[event["number"]] = fault

    def _disk_struck(self, event: Event) -> None:
        if event["number"] in self._disk:
            self._disk[event["number"]].unseen = False

    def _disk_healed(self, event: Event) -> None:
        fault = self._disk.pop(event["number"], None)
        if fault is None or event.get("why") == "count":  # one that strikes so many commands ends by itself
            return
        node = event.get("node")
        fault.over(event["t"], *(() if node is None else (node,)))

    _HANDLERS: ClassVar[dict[str, Callable[[Reading, Event], None]]] = {
        "bench-started": _started,
        "machine-starting": _starting,
        "machine-crashed": _has_crashed,
        "power": _power,
        "machine-reset": _reset,
        "order-sent": _order,
        "fault-injected": _injected,
        "fault-struck": _disk_struck,
        "fault-healed": _healed,
        "injection": _injection,
        "fault-plan": _plan,
    }
