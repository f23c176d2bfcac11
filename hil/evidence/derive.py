"""Which faults a recorded run had, as a plan of the fault library: a pure function of its events.

The library tells of its own injections (event ``injection``): kind, nodes and parameters are taken as told, and what
the bench tells of carrying them out is theirs. Whatever else the bench tells is a fault of the library, too: a scenario
has pulled a plug, cut a link, asked for a fault of the disk.

Each has its time since the beginning and how long it lasted. The beginning is the moment at which all nodes had joined,
if there was no fault before: how long a boot takes says nothing about a fault. Else it is power on.

Whoever has panicked stays down until somebody switches the machine off and on: as in the recording, that is a fault
``power-off`` then, two disk periods later: so much later may it panic this time. What is no fault of the library is
left out, and said so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from hil.errors import UsageError
from hil.faults import library
from hil.faults.plan import FaultPlan, Step
from hil.scsi.faults.kinds import KINDS as DISK_KINDS
from hil.scsi.operation import Direction
from hil.view import View

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hil.view import Event

POWER_ON, JOINED = "power-on", "joined"

AFTER_MS: Final = 60_000
"""So long after the last fault a run may still be needed to fail; whoever left a cluster alone for hours did not."""

ALL: Final = "all"
_ORDERS: Final = {"panic": "panic", "leave": "shutdown"}
_OF_NODES: Final = ("others", "groups")


@dataclass(frozen=True)
class Derived:
    """The faults of one run."""

    plan: FaultPlan
    begins: str
    """From when its times count: ``power-on``, or ``joined``: when all nodes were."""
    master: int | None = None
    """Who was the master when all had joined, if that is the beginning."""
    left_out: tuple[str, ...] = ()
    """What happened and the library has not, and why."""

    def scaled(self, factor: float) -> Derived:
        """All times multiplied: for a cluster whose own times are."""
        steps = tuple(
            replace(one, at_ms=round(one.at_ms * factor), for_ms=max(min(1, one.for_ms), round(one.for_ms * factor)))
            for one in self.plan.steps
        )
        return replace(self, plan=replace(self.plan, until_ms=round(self.plan.until_ms * factor), steps=steps))

    def with_master(self, master: int) -> Derived:
        """The same for a cluster in which another node is the master: the two change places."""
        if self.master is None or self.master == master:
            return self
        names = {self.master: master, master: self.master}
        return replace(self, plan=replace(self.plan, steps=tuple(_renamed(one, names) for one in self.plan.steps)))


def _renamed(step: Step, names: dict[int, int]) -> Step:
    def of(value: Any) -> Any:
        return [of(one) for one in value] if isinstance(value, list) else names.get(value, value)

    whom = step.whom if step.whom == ALL else _whom(of([int(node) for node in step.whom.split(",")]))
    given = {name: of(value) if name in _OF_NODES else value for name, value in step.parameters.items()}
    return replace(step, whom=whom, parameters=given)


def _whom(nodes: Iterable[int]) -> str:
    return ",".join(map(str, sorted(nodes)))


@dataclass
class _Open:
    """A fault that may still end."""

    kind: str
    nodes: tuple[int, ...]
    at_s: float
    parameters: dict[str, Any] = field(default_factory=dict)
    end_s: float | None = None
    later_s: float = 0.0
    """So much later than in the recording it is played."""
    counts: bool = True
    """Not of the library's until it has taken hold."""


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
        self._injections: dict[int, _Open] = {}
        """Of the library, by number, until it is undone."""
        self._off: dict[int, _Open] = {}
        self._cuts: dict[int, list[_Open]] = {}
        self._frozen: dict[int, _Open] = {}
        self._disk: dict[int, _Open] = {}
        self._crashed: set[int] = set()
        """Who has panicked, and was not switched off since."""
        self._later_s = 0.0
        """Two disk periods: a node notices that it was forced out when it writes or reads there."""
        self._ordered: dict[int, _Open] = {}
        """Whom an order has ended."""
        self._split: list[tuple[int, tuple[int, ...]]] = []
        """Consecutive cuts of one instant, each (node, others)."""

    def take(self, event: Event) -> None:
        kind = event["kind"]
        if kind == "checkpoint-restored":  # what came before was another run
            self.__dict__.update(_Deriving(len(self.numbers)).__dict__ | {"view": self.view})
            self.left_out.append("the run went on from a checkpoint: what it began with is not played")
        handler = _HANDLERS.get(kind)
        if kind != "fault-injected" or event["fault"] != "link-silent" or "others" not in event:
            self.end_split()
        if handler is not None:
            handler(self, event)
        self.view.apply(event)
        self.end_s = event["t"]
        if self.began_s is None and kind in ("machine-starting", "checkpoint-restored"):
            self.began_s = event["t"]
        if self.joined_s is None and kind in _MAY_JOIN and self.view.why_not_joined(list(self.numbers)) is None:
            self.joined_s, self.master = event["t"], self.view.master

    def open(
        self, event: Event, kind: str, nodes: Iterable[int], at_s: float | None = None, **parameters: Any
    ) -> _Open:
        fault = _Open(kind, tuple(sorted(nodes)), event["t"] if at_s is None else at_s, parameters)
        self.found.append(fault)
        return fault

    def skip(self, event: Event, what: str, why: str) -> None:
        self.left_out.append(f"event {event['n']}: {what}: {why}")

    # -- the library's own

    def injection(self, event: Event) -> None:
        number, step = event["injection"], event["step"]
        if step == "begun":
            fault = self.open(event, event["fault"], event["nodes"], **event["parameters"])
            fault.counts = False
            self._injections[number] = fault
            return
        known = self._injections.get(number)
        if known is None:
            return
        if step == "holds":
            known.counts = True
        elif known.end_s is None:
            known.end_s = event["t"]
        if step == "undone":
            del self._injections[number]
        if step in ("nothing", "failed") and not known.counts:
            self.skip(event, event["fault"], f"it did not take hold: {event.get('why', '')}")

    def _is_the_librarys(self, event: Event) -> bool:
        node = event.get("node")
        return any(
            one.kind == event["fault"] and (node is None or node in one.nodes) for one in self._injections.values()
        )

    def _keeps(self, node: int) -> bool:
        """Whether an injection of the library sees to the power of that node."""
        return any(library.KINDS[one.kind].boots and node in one.nodes for one in self._injections.values())

    # -- power

    def power(self, event: Event) -> None:
        changed = {node for node in event["changed"] if not self._keeps(node)}
        if event["action"] == "off":
            at_s = event["t"] - event["spread_s"]
            for node in sorted(changed - self._ordered.keys()):
                self._gone(node, at_s)
                later_s = self._later_s if node in self._crashed else 0.0
                self._off[node] = self.open(event, "power-off", [node], at_s + later_s)
                self._off[node].later_s = later_s
            self._crashed -= set(event["changed"])
            return
        for node in sorted(changed):
            fault = self._ordered.pop(node, None) or self._off.pop(node, None)
            if fault is not None:
                fault.end_s = event["t"] + fault.later_s
            elif self.view.nodes[node].ends:  # it had gone off by itself
                at_s = event["t"] + (self._later_s if node in self._crashed else 0.0)
                self.open(event, "power-off", [node], at_s).end_s = at_s
        self._crashed -= set(event["changed"])

    def started(self, event: Event) -> None:
        self._later_s = 2 * event["timing"]["disk_heartbeat_ms"] / 1000

    def crashed(self, event: Event) -> None:
        self._crashed.add(event["node"])

    def reset(self, event: Event) -> None:
        node = event["node"]
        # Two threads report: else its plug was pulled since.
        if not self._keeps(node) and self.view.nodes[node].power != "off":
            self._gone(node, event["t"])
            self.open(event, "reset", [node]).end_s = event["t"]

    def order(self, event: Event) -> None:
        node = event["node"]
        if event["order"] in _ORDERS and not self._keeps(node):
            reason = {"reason": event["reason"]} if event.get("reason") else {}
            self._ordered[node] = self.open(event, _ORDERS[event["order"]], [node], **reason)

    def _gone(self, node: int, at_s: float) -> None:
        """What stands still is gone with the machine."""
        fault = self._frozen.pop(node, None)
        if fault is not None:
            fault.end_s = at_s

    # -- faults

    def injected(self, event: Event) -> None:
        name = event["fault"]
        if self._is_the_librarys(event):
            return
        if name in ("link-silent", "link-carrier"):
            self._cut(event)
        elif name.startswith("freeze-"):
            self._frozen[event["node"]] = self.open(event, name, [event["node"]])
        elif name.startswith("disk-"):
            self._disk_fault(event)
        else:
            self.skip(event, name, "the fault library has it not")

    def healed(self, event: Event) -> None:
        if self._is_the_librarys(event):
            return
        name, made = event["fault"], []
        if name.startswith("link-"):
            made = self._cuts.pop(event["node"], [])
        elif name.startswith("freeze-"):
            self._gone(event["node"], event["t"])
        elif "number" in event and event["number"] in self._disk:
            made = [self._disk.pop(event["number"])]
        for fault in made:
            fault.end_s = event["t"]

    def _cut(self, event: Event) -> None:
        node, direction = event["node"], event.get("direction", "both")
        everybody = tuple(number for number in self.numbers if number != node)
        others = tuple(sorted(event.get("others") or everybody))
        parameters: dict[str, Any] = {} if direction == "both" else {"direction": direction}
        if others != everybody:
            parameters["others"] = list(others)
        if direction == "both" and "others" in event:
            self._split.append((node, others))
        else:
            self.end_split()
        self._cuts.setdefault(node, []).append(self.open(event, event["fault"], [node], **parameters))

    def end_split(self) -> None:
        """Cuts of one verb that are between groups of all nodes are one fault, at one instant."""
        told, self._split = self._split, []
        cuts = self.found[len(self.found) - len(told) :]
        groups: dict[tuple[int, ...], list[int]] = {}
        for node, others in told:
            groups.setdefault(others, []).append(node)
        named = sorted(node for node, _ in told)
        whole = all(sorted([*group, *others]) == named for others, group in groups.items())
        if len(groups) < 2 or not whole or named != list(self.numbers):
            return
        del self.found[-len(told) :]
        split = _Open("link-split", tuple(self.numbers), cuts[0].at_s, {"groups": sorted(map(sorted, groups.values()))})
        self.found.append(split)
        for node, _ in told:
            self._cuts[node] = [split if one in cuts else one for one in self._cuts.get(node, [])]

    def _disk_fault(self, event: Event) -> None:
        name, node = event["fault"], event.get("node")
        asked = {key: event.get(key) for key in ("lun", "lba", "count")}
        given = dict(event.get("parameters") or {}) | {key: value for key, value in asked.items() if value is not None}
        try:
            given |= _direction(name, event.get("directions"))
            library.check(name, given)
        except UsageError as error:
            self.skip(event, name, str(error))
        else:
            nodes = self.numbers if node is None else [node]
            self._disk[event["number"]] = self.open(event, name, nodes, **given)


def _direction(name: str, told: Sequence[str] | None) -> dict[str, str]:
    """Of which commands it is, as the library says it; nothing if it is for those that this kind is usually for."""
    kind = DISK_KINDS[name.removeprefix("disk-")]
    struck = None if told is None else frozenset(told)
    if struck is None or struck == {one.value for one in kind.usual or kind.directions}:
        return {}
    names = {
        frozenset(one.value for one in Direction): "any",
        frozenset(("read", "write", "flush")): "media",
        **{frozenset([one.value]): one.value for one in Direction},
    }
    if struck not in names:
        raise UsageError(f"a fault of the library is for one direction, all or media, not for {', '.join(told or ())}")
    return {"direction": names[struck]}


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
    deriving.end_split()  # the last event may be a cut
    found = _together([one for one in deriving.found if one.counts])
    first_s = min((one.at_s for one in found), default=deriving.end_s)
    joined = deriving.joined_s is not None and deriving.joined_s <= first_s
    zero_s = (deriving.joined_s if joined else deriving.began_s) or 0.0
    last_s = max((one.at_s if one.end_s is None else one.end_s for one in found), default=zero_s)
    end_s = max(last_s, min(deriving.end_s, last_s + AFTER_MS / 1000))
    steps = sorted((_step(one, nodes, zero_s, end_s) for one in found), key=lambda step: step.at_ms)
    return Derived(
        FaultPlan("recorded", max(1, _ms(end_s - zero_s) + 1), tuple(steps), operator=False),
        JOINED if joined else POWER_ON,
        deriving.master if joined else None,
        tuple(deriving.left_out),
    )


def _together(found: list[_Open]) -> list[_Open]:
    """Those that lost power at the same instant, and had it again at the same, are one fault."""
    made: list[_Open] = []
    lost: dict[tuple[float, float | None], _Open] = {}
    for one in found:
        if one.kind == "power-off" and (other := lost.get((one.at_s, one.end_s))) is not None:
            other.nodes = tuple(sorted({*other.nodes, *one.nodes}))
            continue
        if one.kind == "power-off":
            lost[one.at_s, one.end_s] = one
        made.append(one)
    return made


def _step(one: _Open, nodes: int, zero_s: float, end_s: float) -> Step:
    whom = ALL if len(one.nodes) == nodes else _whom(one.nodes)
    for_ms = max(0, _ms((end_s if one.end_s is None else one.end_s) - one.at_s))
    return Step(one.kind, whom, max(0, _ms(one.at_s - zero_s)), for_ms, one.parameters)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
