"""What the events hold besides the states of the nodes: faults, services, and what nodes said to each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from hil.report.run import Run
    from hil.view import Event, View

POWER_OFF: Final = "power off"
_HEAD: Final = ("n", "t", "kind", "node", "fault", "verified")
_REGISTRATIONS_CHANGE: Final = (
    "service", "machine-stopped", "machine-crashed", "machine-reset", "guestd-started",
)  # fmt: skip


@dataclass
class FaultSpan:
    """A fault in force from ``begin`` to ``end``; None: to the end of the run. ``node`` None: everybody's."""

    kind: str
    node: int | None
    begin: float
    n: int
    end: float | None = None
    about: dict[str, Any] = field(default_factory=dict)
    struck: int | None = None
    """How many commands a disk fault struck, or 1 as soon as it has struck one."""


def faults(run: Run) -> list[FaultSpan]:
    """Those that were injected, and machines whose plug was pulled, in the order in which they began."""
    told = _told_by_the_bench(run)
    known = [(_alike(span.kind), span.node, span.begin, span.end) for span in told]

    def is_new(span: FaultSpan) -> bool:
        return not any(
            (kind, node) == (_alike(span.kind), span.node)
            and begin <= (run.end_t if span.end is None else span.end)
            and span.begin <= (run.end_t if end is None else end)
            for kind, node, begin, end in known
        )

    return sorted([*told, *filter(is_new, _of_the_library(run))], key=lambda span: (span.begin, span.n))


def _alike(kind: str) -> str:
    return POWER_OFF if kind in ("power-off", "power-cycle") else kind


def _of_the_library(run: Run) -> list[FaultSpan]:
    """Of each injection (docs/faults.md) and node; the bench itself tells of most of them, too."""
    spans: dict[int, list[FaultSpan]] = {}
    for event in run.events:
        if event["kind"] != "injection":
            continue
        if event["step"] == "begun":
            about = {"whom": event.get("whom"), **(event.get("parameters") or {})}
            spans[event["injection"]] = [
                FaultSpan(str(event["fault"]), node, event["t"], event["n"], about=about)
                for node in event["nodes"] or ()
            ]
        elif event["step"] in ("undone", "failed", "nothing"):
            for span in spans.get(event["injection"], ()):
                span.end = event["t"]
    return [span for own in spans.values() for span in own]


def _told_by_the_bench(run: Run) -> list[FaultSpan]:
    spans: list[FaultSpan] = []
    open_: dict[tuple[str, int | None, int | None], FaultSpan] = {}
    for event in run.events:
        kind, node = event["kind"], event.get("node")
        key = (str(event.get("fault", POWER_OFF)), node, event.get("number"))
        if kind == "fault-injected" and key not in open_:
            about = {name: value for name, value in event.items() if name not in _HEAD and value not in (None, [], {})}
            open_[key] = FaultSpan(str(event["fault"]), node, event["t"], event["n"], about=about)
            spans.append(open_[key])
        elif kind == "fault-struck" and key in open_:
            open_[key].struck = 1
        elif kind == "fault-healed" and key in open_:
            span = open_.pop(key)
            span.end, span.struck = event["t"], event.get("struck", span.struck)
        elif kind == "machine-stopped" and event.get("detail") == "destroyed" and not event.get("again"):
            if key not in open_:
                open_[key] = FaultSpan(POWER_OFF, node, event["t"], event["n"])
                spans.append(open_[key])
        elif kind == "machine-starting" and key in open_:
            open_.pop(key).end = event["t"]
        elif kind == "bench-stopping":
            break  # what follows is the end of the machines
    return spans


@dataclass
class ServiceSpan:
    """One state of one registration. ``lost``: its node's machine has ended, and nobody has said what becomes of it."""

    service: str
    registration: int
    node: int | None
    state: str
    begin: float
    n: int
    why: str = ""
    lost: bool = False
    end: float | None = None


def services(run: Run) -> list[ServiceSpan]:
    """In the order in which they began. Raises :class:`hil.errors.UsageError` as :meth:`Run.follow`."""
    spans: list[ServiceSpan] = []
    open_: dict[tuple[str, int], ServiceSpan] = {}

    def told(event: Event, view: View) -> None:
        if event["kind"] not in _REGISTRATIONS_CHANGE:
            return
        live = {(name, one.number): one for name, service in view.services.items() for one in service.live}
        for key, one in live.items():
            seen = open_.get(key)
            if seen is None or (seen.node, seen.state, seen.lost) != (one.node, one.state, one.lost):
                if seen is not None:
                    seen.end = event["t"]
                name, number = key
                open_[key] = ServiceSpan(name, number, one.node, one.state, event["t"], event["n"], one.why, one.lost)
                spans.append(open_[key])
        for key in [key for key in open_ if key not in live]:
            open_.pop(key).end = event["t"]

    run.follow(told)
    return spans


class Message(NamedTuple):
    """``sender`` None: the bench. ``n``: the event that tells of it."""

    t: float
    sender: int | None
    receiver: int
    what: str
    n: int


MESSAGES: Final = {
    "step": "the master's word of a step has reached the node",
    "acknowledgement": "the node's subsystem has acknowledged the step",
    "silence": "the node does not hear the other one",
    "gasp": "the other one's last word: it ends",
    "fence": "the node removes the other one's key from the disk",
    "order": "the bench tells the node",
}


def messages(run: Run) -> list[Message]:
    """What the events tell of messages: the datagrams themselves are not recorded."""
    found: list[Message] = []

    def told(event: Event, view: View) -> None:
        if (message := _message(event, view)) is not None:
            found.append(message)

    run.follow(told)
    return found


def _message(event: Event, view: View) -> Message | None:
    kind, node, t, n = event["kind"], event.get("node"), event["t"], event["n"]
    if not isinstance(node, int):
        return None
    if kind == "order-sent":
        return Message(t, None, node, "order", n)
    if kind == "silent":
        ends = event.get("where") == "gasp"
        return Message(t, event["subject"], node, "gasp" if ends else "silence", n)
    if kind == "preempted":
        return Message(t, node, event["subject"], "fence", n)
    master = view.nodes[node].membership.master
    if kind in ("notified", "acknowledged") and master is not None and master != node:
        sender, receiver = (master, node) if kind == "notified" else (node, master)
        return Message(t, sender, receiver, "step" if kind == "notified" else "acknowledgement", n)
    return None


def as_data(spans: list[FaultSpan] | list[ServiceSpan]) -> list[dict[str, Any]]:
    """For the page; what is not there is left out."""
    left_out = ("None", "False", "{}", "''")  # by their words: node 0 is equal to False
    return [{key: value for key, value in asdict(one).items() if repr(value) not in left_out} for one in spans]
