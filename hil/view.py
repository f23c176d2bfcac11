"""What is known of a cluster, as a pure function of its event stream.

:class:`View` is fed every event of the bench in order (``apply``) and answers what a person or a wait asks: which
machine runs, which node is in which state, how far each level has come. The bench keeps one for ``hil status``, every
client keeps one for its waits; both are the same code on the same stream, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hil.view_services import REMOVED, CommandView, ServiceView

Event = dict[str, Any]

RECORDING = 1
"""The version of recorded streams, in ``bench-started``; raised when what they tell is told in another way."""

LEVEL_NAMES = {0: "membership", 10: "DLM", 20: "VDM", 30: "SFS", 40: "event-manager"}
"""The built-in levels, for tables that are drawn before a node has told its own (spec S7)."""

MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What :meth:`View.apply` raises for an event that says what cannot be; only a guest in disorder sends such a one."""

UNDER_WAY = {"join": "joining", "leave": "leaving", "forced-leave": "forced-leaving"}
_RANK = {"joining": 0, "joined": 1, "leaving": 2, "forced-leaving": 3, "inactive": 4}
"""The order in which a life of a node passes through these at one level (docs/state-machines.md)."""

DONE = {"join": "joined", "leave": "inactive", "forced-leave": "inactive"}


@dataclass
class Membership:
    """The cluster's membership as one node sees it (guestd event ``membership``)."""

    epoch: int = 0
    step: int = 0
    master: int | None = None
    nodes: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Node id to (state, incarnation)."""

    def joined(self) -> list[int]:
        """The ids of the joined nodes, ascending."""
        return sorted(node for node, (state, _) in self.nodes.items() if state == "joined")


@dataclass
class NodeView:
    """One node: its machine, its guestd, and what it and the others say of it."""

    id: int
    power: str = "off"
    """off, starting, running, paused or crashed: libvirt's word."""
    guestd: str = "absent"
    """absent, waiting (to begin, in a machine that is saved), running or exited: guestd's own word, or its init's."""
    guestd_status: int | None = None
    """The exit status when ``guestd`` is "exited"."""
    incarnation: int = 0
    state: str = "inactive"
    """The node's own word: inactive, joining, joined, leaving or forced-leaving."""
    membership: Membership = field(default_factory=Membership)
    levels: dict[int, str] = field(default_factory=dict)
    """Level to state of this node's subsystem there, as all nodes acknowledged it or are being notified."""
    levels_incarnation: int = 0
    waiting: str | None = None
    panic_reason: str | None = None
    refused: str | None = None
    """Why this machine's guestd must not go on: the disk is another cluster's, its node id is another machine's."""
    ends: int = 0
    """How often the machine has stopped or crashed; a wait that began earlier knows that this is news."""
    silent_luns: set[int] = field(default_factory=set)
    """Data disks that do not answer this node: its own word."""
    not_begun: str | None = None
    """Why an epoch that this node has won has not begun: somebody is not fenced."""
    off_reason: str | None = None
    """Why the machine could not be switched on."""
    power_on_t: float | None = None
    power_off_t: float | None = None
    kernel_t: float | None = None
    guestd_t: float | None = None
    joined_t: float | None = None


class View:
    """The state of one cluster after the events applied so far."""

    def __init__(self, nodes: int) -> None:
        self.nodes = [NodeView(i) for i in range(nodes)]
        self.n = 0
        self.t = 0.0
        self.subsystems: dict[int, tuple[str, bool]] = {}
        self.faults: dict[int | None, list[str]] = {}
        """Node to its faults; None: those of the whole cluster."""
        self.struck: set[int] = set()
        """The numbers of the disk faults that have struck a command."""
        self.services: dict[str, ServiceView] = {}
        self.service_commands: dict[tuple[str, str, int], CommandView] = {}
        """Of each service, action (start, stop, notify, recovery) and node, the newest one."""
        self.stopping: str | None = None
        self.broken: str | None = None
        """What is gone for good, so that nothing that is waited for can be trusted to come."""

    def __repr__(self) -> str:
        return f"<view: joined {self.newest.joined()}, epoch {self.epoch}, master {self.master}, {self.t:.3f} s>"

    @property
    def newest(self) -> Membership:
        """The newest membership that any running node has reported; an empty one if none."""
        alive = [node.membership for node in self.nodes if node.power == "running" and node.guestd == "running"]
        return max(alive, key=lambda membership: (membership.epoch, membership.step), default=Membership())

    @property
    def epoch(self) -> int:
        """The newest epoch known to a running node; 0 before the first."""
        return self.newest.epoch

    @property
    def master(self) -> int | None:
        """The master of the newest epoch, if its machine runs."""
        master = self.newest.master
        return master if master is not None and self.nodes[master].power == "running" else None

    def apply(self, event: Event) -> None:
        """Take one event; kinds and fields that are unknown are ignored (an older client, a newer bench)."""
        self.n = event.get("n", self.n)
        self.t = event.get("t", self.t)
        handler = _HANDLERS.get(event["kind"])
        if handler is None:
            return
        node = event.get("node")
        handler(self, self.nodes[node] if isinstance(node, int) else None, event)

    def why_not_joined(self, wanted: list[int]) -> str | None:
        """None if all of ``wanted`` are joined and agree on epoch and master, else why not yet."""
        newest = self.newest
        for i in wanted:
            node = self.nodes[i]
            if node.power != "running":
                return f"node {i}'s machine is {node.power}"
            if node.guestd != "running":
                return f"node {i}: guestd is {node.guestd}"
            if node.state != "joined":
                return f"node {i} is {node.state}" + (f", waiting for {node.waiting}" if node.waiting else "")
        for i in wanted:
            seen = self.nodes[i].membership
            if (seen.epoch, seen.master) != (newest.epoch, newest.master):
                return f"node {i} is still at epoch {seen.epoch}, the newest is {newest.epoch}"
            for other in wanted:
                state, incarnation = seen.nodes.get(other, ("inactive", 0))
                if state != "joined" or incarnation != self.nodes[other].incarnation:
                    return f"node {i} sees node {other} as {state} (incarnation {incarnation})"
        return None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``hil status --json``; keys are stable."""
        newest = self.newest
        return {
            "n": self.n,
            "t": self.t,
            "epoch": newest.epoch,
            "master": self.master,
            "members": newest.joined(),
            "subsystems": {str(level): {"name": n, "real": real} for level, (n, real) in self.subsystems.items()},
            "broken": self.broken,
            "faults": {"all" if node is None else str(node): faults for node, faults in self.faults.items() if faults},
            "services": {name: service.as_dict() for name, service in sorted(self.services.items())},
            "nodes": [self._node_dict(node) for node in self.nodes],
        }

    @staticmethod
    def _node_dict(node: NodeView) -> dict[str, Any]:
        return {
            "id": node.id,
            "power": node.power,
            "guestd": node.guestd,
            "incarnation": node.incarnation,
            "state": node.state,
            "epoch": node.membership.epoch,
            "levels": {str(level): state for level, state in sorted(node.levels.items())},
            "waiting": node.waiting,
            "panic_reason": node.panic_reason,
            "refused": node.refused,
            "silent_luns": sorted(node.silent_luns),
            "not_begun": node.not_begun,
        }


def _starting(view: View, node: NodeView, event: Event) -> None:
    node.power = "starting"
    node.power_on_t, node.kernel_t, node.guestd_t, node.joined_t = event["t"], None, None, None
    node.panic_reason = node.off_reason = node.refused = None


def _started(view: View, node: NodeView, event: Event) -> None:
    node.power = "running"


def _fresh_machine(view: View, node: NodeView, event: Event) -> None:
    """A machine that was reset, or is gone, has lost all that was in its memory."""
    node.guestd, node.guestd_status, node.state, node.waiting = "absent", None, "inactive", None
    node.membership = Membership()
    node.silent_luns, node.not_begun = set(), None
    for service in view.services.values():
        service.machine_ended(node.id)


def _stopped(view: View, node: NodeView, event: Event) -> None:
    node.power = "off"
    node.power_off_t = event["t"]
    node.off_reason = event.get("reason")
    node.ends += 1
    if event.get("again"):
        node.power_on_t = None  # it is about to be switched on: nobody is to give it up
    _fresh_machine(view, node, event)
    # What stands still, or is slow, is gone with the machine; a cut link stays cut.
    view.faults[node.id] = [
        name for name in view.faults.get(node.id, []) if not name.startswith(("freeze-", "slow-cpu"))
    ]


def _crashed(view: View, node: NodeView, event: Event) -> None:
    node.power = "crashed"
    node.ends += 1
    _fresh_machine(view, node, event)


def _reset(view: View, node: NodeView, event: Event) -> None:
    if node.power == "off":
        return  # two threads report: the reset came before the plug was pulled, the word of it after
    node.ends += 1
    _starting(view, node, event)
    node.power = "running"
    _fresh_machine(view, node, event)


def _paused(view: View, node: NodeView, event: Event) -> None:
    if node.power == "running":
        node.power = "paused"


def _resumed(view: View, node: NodeView, event: Event) -> None:
    if node.power == "paused":
        node.power = "running"


def _guestd_started(view: View, node: NodeView, event: Event) -> None:
    stages = event.get("stages") or {}
    if "initramfs" in stages and "guest_t" in event:
        # The guest's clock starts with its kernel; the two clocks run at the same rate.
        node.kernel_t = event["t"] - (event["guest_t"] - stages["initramfs"])
    _fresh_machine(view, node, event)
    node.guestd, node.refused = "running", None
    node.guestd_t = event["t"]


def _guestd_waiting(view: View, node: NodeView, event: Event) -> None:
    node.guestd = "waiting"


def _guestd_exited(view: View, node: NodeView, event: Event) -> None:
    node.guestd, node.guestd_status = "exited", event.get("status")
    node.state = "inactive"


def _incarnation(view: View, node: NodeView, event: Event) -> None:
    node.incarnation = int(event["incarnation"])


def _state(view: View, node: NodeView, event: Event) -> None:
    node.state = str(event["state"])
    if node.state != "inactive":
        node.waiting = None
    if node.state == "joined":
        node.joined_t = event["t"]


def _membership(view: View, node: NodeView, event: Event) -> None:
    master = event["master"]
    node.membership = Membership(
        int(event["epoch"]),
        int(event["step"]),
        None if master is None else view.nodes[master].id,
        {view.nodes[int(i)].id: (entry["state"], entry["incarnation"]) for i, entry in event["nodes"].items()},
    )


def _level(states: dict[str, str], view: View, node: NodeView, event: Event) -> None:
    subject, level, state = view.nodes[event["subject"]], int(event["level"]), states[event["transition"]]
    if event["incarnation"] < subject.levels_incarnation:
        return
    if event["incarnation"] > subject.levels_incarnation:
        subject.levels, subject.levels_incarnation = {}, event["incarnation"]
    # Each node's line is read by itself: that a member was notified may be read after the master's word that all have
    # acknowledged. A life never goes back.
    known = subject.levels.get(level)
    if known is None or _RANK[state] >= _RANK[known]:
        subject.levels[level] = state


def _notified(view: View, node: NodeView, event: Event) -> None:
    if event.get("late") and event["level"] in view.nodes[event["subject"]].levels:
        return  # another node's subsystem at that level has processed this join
    _level(UNDER_WAY, view, node, event)


def _level_complete(view: View, node: NodeView, event: Event) -> None:
    _level(DONE, view, node, event)


def _caught_up(view: View, node: NodeView, event: Event) -> None:
    for subject in event["subjects"]:
        levels = view.nodes[subject].levels
        if levels.get(event["level"]) == UNDER_WAY["join"]:
            levels[event["level"]] = DONE["join"]


def _waiting(view: View, node: NodeView, event: Event) -> None:
    node.waiting = event["for"]


def _data_disk(view: View, node: NodeView, event: Event) -> None:
    (node.silent_luns.add if event["state"] != "answers" else node.silent_luns.discard)(int(event["lun"]))


def _not_begun(view: View, node: NodeView, event: Event) -> None:
    node.not_begun = f"epoch {event['epoch']}: {event['why']}"


def _begun(view: View, node: NodeView, event: Event) -> None:
    for each in view.nodes:
        each.not_begun = None


def _panic(view: View, node: NodeView, event: Event) -> None:
    node.panic_reason = event["reason"]


def _refused(view: View, node: NodeView, event: Event) -> None:
    node.refused = event["reason"]


def _subsystems(view: View, node: NodeView, event: Event) -> None:
    view.subsystems |= {int(entry["level"]): (entry["name"], entry["real"]) for entry in event["levels"]}


def _fault_name(event: Event) -> str:
    """Disk faults have a number, of which several may be alike; a link that is cut twice is cut once."""
    return f"{event['fault']} #{event['number']}" if "number" in event else str(event["fault"])


def _fault_injected(view: View, node: NodeView | None, event: Event) -> None:
    faults = view.faults.setdefault(None if node is None else node.id, [])
    if _fault_name(event) not in faults:
        faults.append(_fault_name(event))


def _fault_struck(view: View, node: NodeView | None, event: Event) -> None:
    view.struck.add(event["number"])


def _fault_healed(view: View, node: NodeView | None, event: Event) -> None:
    faults = view.faults.get(None if node is None else node.id, [])
    if _fault_name(event) in faults:
        faults.remove(_fault_name(event))


def _service(view: View, node: NodeView | None, event: Event) -> None:
    name = str(event["service"])
    if event["state"] == REMOVED:
        view.services.pop(name, None)
        return
    view.services.setdefault(name, ServiceView(name)).apply(event)


def _service_command(view: View, node: NodeView, event: Event) -> None:
    view.service_commands[str(event["service"]), str(event["action"]), node.id] = CommandView.of(event)


def _disk_exited(view: View, node: NodeView | None, event: Event) -> None:
    view.broken = f"the SCSI target of the shared disk ended with status {event['status']}"


def _bench_stopping(view: View, node: NodeView | None, event: Event) -> None:
    view.stopping = event["reason"]


_HANDLERS: dict[str, Callable[[View, Any, Event], None]] = {
    "disk-exited": _disk_exited,
    "machine-starting": _starting,
    "machine-started": _started,
    "machine-stopped": _stopped,
    "machine-crashed": _crashed,
    "machine-reset": _reset,
    "machine-paused": _paused,
    "machine-resumed": _resumed,
    "guestd-started": _guestd_started,
    "guestd-waiting": _guestd_waiting,
    "guestd-exited": _guestd_exited,
    "incarnation": _incarnation,
    "state": _state,
    "membership": _membership,
    "notified": _notified,
    "level-complete": _level_complete,
    "caught-up": _caught_up,
    "waiting": _waiting,
    "data-disk": _data_disk,
    "epoch-not-begun": _not_begun,
    "elected": _begun,
    "panic": _panic,
    "refused": _refused,
    "subsystems": _subsystems,
    "fault-injected": _fault_injected,
    "fault-struck": _fault_struck,
    "fault-healed": _fault_healed,
    "service": _service,
    "service-command": _service_command,
    "bench-stopping": _bench_stopping,
}

BENCH_KINDS = frozenset(
    {
        *("bench-started", "bench-stopping", "disk-started", "disk-exited", "power", "order-sent"),
        *("machine-starting", "machine-started", "machine-stopped", "machine-crashed"),
        *("machine-paused", "machine-resumed", "machine-reset", "machine-saved"),
        *("checkpoint-saved", "checkpoint-restored"),
        *("fault-injected", "fault-struck", "fault-healed", "injection", "fault-plan", "events-lost", "garbage"),
    }
)
"""What the bench alone may say: a guest has no say in what libvirt did (docs/events.md)."""
