"""Which faults a recorded run had, as a plan: a pure function of its events.

What the bench tells of faults and power becomes faults of :mod:`hil.sim.plan`, with the time since the beginning and
how long they lasted. The beginning is the moment at which all nodes had joined, if there was no fault before: how long
a boot takes says nothing about a fault. Else it is power on.

Whoever has panicked stays down until somebody switches the machine off and on: as in the recording, that is a fault
``crash`` then, two disk periods later: so much later may it panic this time. Not so who was ordered to panic, or to
leave: a plan's player switches it on at once. What no plan has is left out, and said so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from hil.scsi.faults.kinds import KINDS as DISK_KINDS
from hil.sim.plan import KINDS, Fault, Plan
from hil.view import View

if TYPE_CHECKING:
    from hil.view import Event

POWER_ON, JOINED = "power-on", "joined"

AFTER_MS: Final = 60_000
"""So long after the last fault a run may still be needed to fail; whoever left a cluster alone for hours did not."""

_ORDERS: Final = {"panic": "panic", "leave": "leave"}
_DISK: Final = {"disk-hang": "disk-hang", "disk-delay-writes": "delay-writes", "disk-error": "disk-errors"}


@dataclass(frozen=True)
class Derived:
    """The faults of one run."""

    plan: Plan
    begins: str
    """From when its times count: ``power-on``, or ``joined``: when all nodes were."""
    master: int | None = None
    """Who was the master when all had joined, if that is the beginning."""
    left_out: tuple[str, ...] = ()
    """What happened and no plan has, and why."""

    def scaled(self, factor: float) -> Derived:
        """All times multiplied: for a cluster whose own times are."""
        faults = tuple(
            replace(one, at_ms=round(one.at_ms * factor), for_ms=max(one.shortest_ms, round(one.for_ms * factor)))
            for one in self.plan.faults
        )
        return replace(self, plan=Plan(round(self.plan.until_ms * factor), faults))

    def with_master(self, master: int) -> Derived:
        """The same for a cluster in which another node is the master: the two change places."""
        if self.master is None or self.master == master:
            return self
        names = {self.master: master, master: self.master}
        return replace(self, plan=replace(self.plan, faults=tuple(_renamed(one, names) for one in self.plan.faults)))


def _renamed(fault: Fault, names: dict[int, int]) -> Fault:
    def of(value: Any) -> Any:
        return tuple(of(one) for one in value) if isinstance(value, tuple) else names.get(value, value)

    given = {name: of(value) for name, value in fault.parameters().items() if name in _OF_NODES}
    return replace(fault, **given)


_OF_NODES: Final = ("node", "nodes", "others", "groups")


@dataclass
class _Open:
    """A fault that may still end."""

    kind: str
    at_s: float
    parameters: dict[str, Any] = field(default_factory=dict)
    end_s: float | None = None
    later_s: float = 0.0
    """So much later than in the recording it is played."""


class _Deriving:
    """Event by event."""

    def __init__(self, nodes: int) -> None:
        self.view = View(nodes)
        self.numbers = range(nodes)
        self.found: list[_Open] = []
        self.left_out: list[str] = []
        self.began_s: float | None = None
        self.joined_s: float | None = None
        self.master: int | None = None
        self.end_s = 0.0
        self._off: dict[int, _Open] = {}
        self._cuts: dict[int, list[_Open]] = {}
        self._injected: dict[int, Event] = {}
        """Of the fault library, by number: whom, and with which parameters."""
        self._library: dict[int, list[_Open]] = {}
        """Its cuts, by number."""
        self._frozen: dict[int, _Open] = {}
        self._disk: dict[int, list[_Open]] = {}
        self._crashed: set[int] = set()
        """Who has panicked, and was not switched off since."""
        self._later_s = 0.0
        """Two disk periods: a node notices that it was forced out when it writes or reads there."""
        self._ordered: set[int] = set()
        """Whom an order has ended: who plays it switches it on again."""
        self._split: list[tuple[int, tuple[int, ...]]] = []
        """Consecutive cuts of one instant, each (node, others)."""

    def take(self, event: Event) -> None:
        kind = event["kind"]
        if kind == "checkpoint-restored":  # what came before was another run
            self.__dict__.update(_Deriving(len(self.numbers)).__dict__ | {"view": self.view})
            self.left_out.append("the run went on from a checkpoint: what it began with is not played")
        handler = _HANDLERS.get(kind)
        if kind != "fault-injected" or event["fault"] != "link-silent" or "others" not in event:
            self._end_split()
        if handler is not None:
            handler(self, event)
        self.view.apply(event)
        self.end_s = event["t"]
        if self.began_s is None and kind in ("machine-starting", "checkpoint-restored"):
            self.began_s = event["t"]
        if self.joined_s is None and kind in _MAY_JOIN and self.view.why_not_joined(list(self.numbers)) is None:
            self.joined_s, self.master = event["t"], self.view.master

    def open(self, event: Event, kind: str, at_s: float | None = None, **parameters: Any) -> _Open:
        fault = _Open(kind, event["t"] if at_s is None else at_s, parameters)
        self.found.append(fault)
        if not KINDS[kind].lasts:
            fault.end_s = fault.at_s
        return fault

    def skip(self, event: Event, what: str, why: str) -> None:
        self.left_out.append(f"event {event['n']}: {what}: {why}")

    # -- power

    def power(self, event: Event) -> None:
        if event["action"] == "off":
            at_s = event["t"] - event["spread_s"]
            for node in sorted(set(event["changed"]) - self._ordered):
                self._gone(node, at_s)
                later_s = self._later_s if node in self._crashed else 0.0
                self._off[node] = self.open(event, "crash", at_s + later_s, node=node)
                self._off[node].later_s = later_s
            self._crashed -= set(event["changed"])
            return
        for node in sorted(set(event["changed"]) - self._ordered):
            fault = self._off.pop(node, None)
            if fault is not None:
                fault.end_s = event["t"] + fault.later_s
            elif self.view.nodes[node].ends:  # it had gone off by itself
                at_s = event["t"] + (self._later_s if node in self._crashed else 0.0)
                self.open(event, "crash", at_s, node=node).end_s = at_s
        self._ordered -= set(event["changed"])
        self._crashed -= set(event["changed"])

    def started(self, event: Event) -> None:
        self._later_s = 2 * event["timing"]["disk_heartbeat_ms"] / 1000

    def crashed(self, event: Event) -> None:
        self._crashed.add(event["node"])

    def reset(self, event: Event) -> None:
        if self.view.nodes[event["node"]].power != "off":  # two threads report: else its plug was pulled since
            self._gone(event["node"], event["t"])
            self.open(event, "crash", node=event["node"]).end_s = event["t"]

    def order(self, event: Event) -> None:
        if event["order"] in _ORDERS:
            self.open(event, _ORDERS[event["order"]], node=event["node"])
            self._ordered.add(event["node"])

    def _gone(self, node: int, at_s: float) -> None:
        """What stands still is gone with the machine."""
        fault = self._frozen.pop(node, None)
        if fault is not None:
            fault.end_s = at_s

    # -- faults

    def injected(self, event: Event) -> None:
        name, node = event["fault"], event.get("node")
        if name in ("link-silent", "link-carrier"):
            self._cut(event)
        elif name == "link-split":
            self._library_split(event)
        elif name.startswith("freeze-"):
            self._frozen[event["node"]] = self.open(event, name, node=node, drops=False)
        elif name in _DISK and (why := _restricted(event)) is None:
            self._disk_fault(event, _DISK[name])
        elif name in _DISK:
            self.skip(event, name, why or "")
        else:
            self.skip(event, name, "no plan has it")

    def healed(self, event: Event) -> None:
        name = event["fault"]
        if name.startswith("link-"):
            healed = self._library if "number" in event else self._cuts
            for fault in healed.pop(event["number" if "number" in event else "node"], []):
                fault.end_s = event["t"]
        elif name.startswith("freeze-"):
            self._gone(event["node"], event["t"])
        elif "number" in event:
            for fault in self._disk.pop(event["number"], []):
                fault.end_s = event["t"]

    def _cut(self, event: Event) -> None:
        node, injected = event["node"], self._injected.get(event.get("number", 0), {})
        about = injected.get("parameters", event)
        direction = about.get("direction", "both")
        everybody = tuple(number for number in self.numbers if number != node)
        named = about.get("others") or [one for one in everybody if one not in injected.get("nodes", [node])]
        others: tuple[int, ...] | None = tuple(sorted(set(named) - {node}))
        if not others or others == everybody:
            others = everybody if event.get("others") is not None else None
        if event["fault"] == "link-carrier":
            self.skip(event, f"link-carrier of node {node}", "played as a silent cut")
        if direction != "both" or others is None:
            self._end_split()
        if direction != "both":
            fault = self.open(event, "cut-one-way", node=node, others=others or everybody, direction=direction)
        elif others is None:
            fault = self.open(event, "cut-node", node=node)
        else:
            fault = self.open(event, "cut-link", node=node, others=others)
            self._split.append((node, others))
        if injected:
            self._library.setdefault(event["number"], []).append(fault)
        else:
            self._cuts.setdefault(node, []).append(fault)

    def injection(self, event: Event) -> None:
        """The library tells beforehand what the bench's events do not say."""
        if event["step"] == "begun":
            self._injected[event["injection"]] = event

    def _library_split(self, event: Event) -> None:
        number = event["number"]
        if number in self._library:  # told of each node
            return
        groups = tuple(tuple(sorted(group)) for group in self._injected[number]["parameters"]["groups"])
        if sorted(node for group in groups for node in group) == list(self.numbers):
            self._library[number] = [self.open(event, "split", groups=groups)]
        else:
            self._library[number] = []
            self.skip(event, "link-split", "a plan's is of all nodes")

    def _end_split(self) -> None:
        """Cuts of one verb that are between groups are one fault, at one instant; from all others is a node's cut."""
        told, self._split = self._split, []
        cuts = self.found[len(self.found) - len(told) :]
        groups: dict[tuple[int, ...], list[int]] = {}
        for node, others in told:
            groups.setdefault(others, []).append(node)
        named = sorted(node for node, _ in told)
        whole = all(sorted([*group, *others]) == named for others, group in groups.items())
        if len(groups) < 2 or not whole or named != list(self.numbers):  # a plan's split is of all
            for one in cuts:
                if len(one.parameters["others"]) == len(self.numbers) - 1:
                    one.kind, one.parameters = "cut-node", {"node": one.parameters["node"]}
            return
        del self.found[-len(told) :]
        parts = tuple(sorted(tuple(sorted(group)) for group in groups.values()))
        split = _Open("split", cuts[0].at_s, {"groups": parts})
        self.found.append(split)
        for node, _ in told:
            self._cuts[node] = [split if one in cuts else one for one in self._cuts.get(node, [])]

    def _disk_fault(self, event: Event, kind: str) -> None:
        node = event.get("node")
        if node is not None:
            made = [self.open(event, kind, node=node)]
        elif kind == "disk-hang":
            made = [self.open(event, "disk-hang-all")]
        else:
            made = [self.open(event, kind, node=number) for number in self.numbers]
        for fault in made:
            if kind == "disk-errors":
                fault.parameters["share"] = 1000
        self._disk[event["number"]] = made


def _restricted(event: Event) -> str | None:
    """Why a plan's fault of the disk is another one: it is for all that this kind is usually for, without limits."""
    kind = DISK_KINDS[event["fault"].removeprefix("disk-")]
    usual = {one.value for one in kind.usual or kind.directions}
    given = event.get("directions")
    if given is not None and set(given) != usual:
        return f"a plan has it for {', '.join(sorted(usual))} only, not for {', '.join(given)}"
    for name in ("lba", "lun", "count"):
        if event.get(name) is not None:
            return f"no plan has it with {name}"
    return None


_HANDLERS: Final[dict[str, Callable[[_Deriving, Event], None]]] = {
    "bench-started": _Deriving.started,
    "machine-crashed": _Deriving.crashed,
    "power": _Deriving.power,
    "machine-reset": _Deriving.reset,
    "order-sent": _Deriving.order,
    "fault-injected": _Deriving.injected,
    "fault-healed": _Deriving.healed,
    "injection": _Deriving.injection,
}
_MAY_JOIN: Final = ("membership", "state", "checkpoint-restored")


def derive(events: Sequence[Event], nodes: int) -> Derived:
    """The faults of a run of that many nodes. Raises one of ``hil.view.MALFORMED`` for events that cannot be."""
    deriving = _Deriving(nodes)
    for event in events:
        if event["kind"] == "bench-stopping":  # what follows is the end of the machines
            deriving.end_s = event["t"]
            break
        deriving.take(event)
    deriving._end_split()  # noqa: SLF001 - the last event may be a cut
    first_s = min((one.at_s for one in deriving.found), default=deriving.end_s)
    joined = deriving.joined_s is not None and deriving.joined_s <= first_s
    zero_s = (deriving.joined_s if joined else deriving.began_s) or 0.0
    last_s = max((one.at_s if one.end_s is None else one.end_s for one in deriving.found), default=zero_s)
    end_s = max(last_s, min(deriving.end_s, last_s + AFTER_MS / 1000))
    faults = [_fault(one, zero_s, end_s) for one in _together(deriving.found)]
    return Derived(
        Plan(max(1, _ms(end_s - zero_s) + 1), tuple(sorted(faults, key=lambda one: one.at_ms))),
        JOINED if joined else POWER_ON,
        deriving.master if joined else None,
        tuple(deriving.left_out),
    )


def _together(found: list[_Open]) -> list[_Open]:
    """Those that lost power at the same instant, and had it again at the same, are one fault."""
    made: list[_Open] = []
    lost: dict[tuple[float, float | None], _Open] = {}
    for one in found:
        if one.kind != "crash" or (other := lost.get((one.at_s, one.end_s))) is None:
            if one.kind == "crash":
                lost[one.at_s, one.end_s] = one
            made.append(one)
            continue
        nodes = other.parameters.pop("nodes", ()) or (other.parameters.pop("node"),)
        other.kind, other.parameters = "power-failure", {"nodes": (*nodes, one.parameters["node"])}
    return made


def _fault(one: _Open, zero_s: float, end_s: float) -> Fault:
    lasts = KINDS[one.kind].lasts
    for_ms = _ms((end_s if one.end_s is None else one.end_s) - one.at_s) if lasts else 0
    shortest = 1 if lasts and one.kind not in ("crash", "power-failure") else 0
    return Fault(one.kind, max(0, _ms(one.at_s - zero_s)), max(shortest, for_ms), **one.parameters)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
