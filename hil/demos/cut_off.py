"""``hil demo split`` and ``hil demo freeze``: nodes that others cannot hear any more, while they work.

The others fence them, force them out and go on; what they write then the disk refuses, and they panic. Their services
are recovered and run elsewhere. Afterwards they are healed, boot and join again.

The times come from the event stream (the bench's clock); what the disk has refused comes from its ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hil.demos.display import LOAD, PROGRESS, Display, named, nothing_lost, shown
from hil.errors import LaboratoryError
from hil.scsi.fenced_writes import writes_after_removal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.client import Node
    from hil.config import ClusterConfig
    from hil.scenario import ScenarioCluster
    from hil.view import Event, View


@dataclass(frozen=True)
class Victim:
    """What became of a node; times in seconds since the fault."""

    node: int
    fenced_by: int
    fenced: float
    panicked: float
    reason: str
    refused_writes: int
    """That the disk kept out after it had removed the node's registration; 0: the node had found out by reading."""
    joined: float
    """Again, as another life."""


@dataclass(frozen=True)
class Moved:
    """A service of a victim: seconds since the fault until it was registered on another node."""

    service: str
    before: int
    node: int
    registered: float


@dataclass(frozen=True)
class Report:
    """What ``--json`` prints."""

    cluster: str
    run_dir: str
    accelerator: str
    fault: str
    survivors: list[int]
    epoch: int
    """Of the survivors, when they were alone."""
    victims: list[Victim]
    services: list[Moved]
    acknowledged: int
    """Writes of the programs that had been acknowledged at the fault."""
    verified: int
    """Acknowledged writes that each node has read at the end: all that there were."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        told: list[tuple[float, str]] = []
        for one in self.victims:
            tried = f"{one.refused_writes} of its writes" if one.refused_writes else "no write: it tried none"
            told += [
                (one.fenced, f"node {one.node} is fenced by node {one.fenced_by}; the disk has refused {tried}"),
                (one.panicked, f"node {one.node} panics: {one.reason}"),
                (one.joined, f"node {one.node} has booted and joined again"),
            ]
        told += [
            (one.registered, f"service {one.service} runs on node {one.node} (it was on node {one.before})")
            for one in self.services
        ]
        lines = [f"{named(self.survivors)} went on, in epoch {self.epoch}; seconds since the fault ({self.fault}):"]
        lines += [f"{seconds:8.2f}  {text}" for seconds, text in sorted(told)]
        return [*lines, nothing_lost(self.acknowledged, self.verified, "the fault")]


@dataclass(frozen=True)
class Fault:
    """``begin`` takes the cluster, who is to be struck and who is not; ``end`` comes when the others have gone on."""

    name: str
    begin: Callable[[ScenarioCluster, list[Node], list[Node]], object]
    end: Callable[[ScenarioCluster, list[Node]], object] | None = None


def split(config: ClusterConfig, display: Display, *, seed: int | None = None, keep: bool = False) -> Report:
    """A minority is cut off from the others, silently; ``seed`` and ``keep`` as in :func:`hil.demos.display.shown`.

    Raises what the client raises: :class:`hil.errors.ClaimFailed` if it does not come as it must.
    """
    # The cut stays until all is over: who is out finds out by the disk.
    fault = Fault("the interconnect is split", lambda cluster, victims, others: cluster.split(others, victims))
    with shown(config, display, seed=seed, keep=keep) as cluster:
        return _story(cluster, display, fault, max(1, (len(cluster.nodes) - 1) // 2))


def freeze(config: ClusterConfig, display: Display, *, seed: int | None = None, keep: bool = False) -> Report:
    """One node stands still until the others have gone on without it; as :func:`split`."""
    fault = Fault(
        "a node stands still",
        lambda cluster, victims, others: cluster.freeze(victims[0], "vcpu"),
        lambda cluster, victims: cluster.thaw(victims[0]),
    )
    with shown(config, display, seed=seed, keep=keep) as cluster:
        return _story(cluster, display, fault, 1)


def _story(cluster: ScenarioCluster, display: Display, fault: Fault, count: int) -> Report:
    display.title = "programs and services begin"
    display.say("programs write to the shared file system on every node, and services run")
    with cluster.workload(*LOAD) as load:
        load.wait_progress(PROGRESS)
        victims = [node for node in cluster.nodes if node is not cluster.master][:count]
        survivors = [node for node in cluster.nodes if node not in victims]
        told = named(victims)
        lost = {name: node for name in load.services for node in victims if cluster.runs(name) is node}
        before, acknowledged = cluster.catch_up().n, load.acknowledged()["files"]

        display.title = fault.name
        display.say(f"now {fault.name}; struck: {told}")
        with ExitStack() as panics:
            for node in victims:
                panics.enter_context(cluster.expecting_panic(node))
            fault.begin(cluster, victims, survivors)
            for node in victims:
                cluster.wait_state(node, "inactive")
            epoch = cluster.view.epoch
            display.say(f"{told}: forced out; {named(survivors)} went on in epoch {epoch}")
            if fault.end is not None:
                display.say(f"{told} goes on, and does not know what it has missed")
                fault.end(cluster, victims)
        for name in lost:
            cluster.services.wait_until(name, _elsewhere(name, victims), f"service {name} on a node that went on")
        load.wait_progress()
        display.leave_table(cluster.view)

        display.title = "healed, booted, joined"
        display.say(f"{told}: panicked; healed, switched off and on")
        for node in victims:
            cluster.heal_link(node)
        cluster.power_cycle(victims)
        cluster.wait_joined()
        display.leave_table(cluster.view)
        display.title = "is everything there?"
        load.resume()
        load.wait_progress()
        verified = load.check()["files"]
        cluster.expect_no_stale_writes()
        cluster.check_panics()
        events = list(cluster.events(since=before))
        began = _t(events, "fault-injected")
        return Report(
            cluster=cluster.name,
            run_dir=str(cluster.run_dir),
            accelerator=str(cluster.settings["settings"]["accelerator"]),
            fault=fault.name,
            survivors=[node.id for node in survivors],
            epoch=epoch,
            victims=[_victim(cluster, events, began, node) for node in victims],
            services=[_moved(cluster, before, began, name, node) for name, node in lost.items()],
            acknowledged=acknowledged,
            verified=verified,
        )


def _elsewhere(name: str, victims: Sequence[Node]) -> Callable[[View], str | None]:
    out = {node.id for node in victims}

    def why_not(view: View) -> str | None:
        seen = view.services.get(name)
        there = [] if seen is None else seen.registered_on
        return None if there and not out.intersection(there) else f"it is {seen}"

    return why_not


def _victim(cluster: ScenarioCluster, events: list[Event], began: float, node: Node) -> Victim:
    (fenced, *_) = of_kind(events, "fenced", subject=node.id)
    (panic, *_) = of_kind(events, "panic", node=node.id)
    joined = node.view.joined_t
    assert joined is not None, "it was waited for"
    refused = [write for _, write in writes_after_removal(cluster.disk.records()) if write.nexus.number == node.id]
    return Victim(
        node=node.id,
        fenced_by=fenced["node"],
        fenced=round(fenced["t"] - began, 3),
        panicked=round(panic["t"] - began, 3),
        reason=panic["reason"],
        refused_writes=len(refused),
        joined=round(joined - began, 3),
    )


def _moved(cluster: ScenarioCluster, since: int, began: float, name: str, node: Node) -> Moved:
    steps = cluster.services.steps(name, since)
    step = next(one for one in steps if one.state == "registered" and one.node != node.id)
    assert step.node is not None, "a service that is registered has a node"
    return Moved(name, node.id, step.node, round(step.t - began, 3))


def of_kind(events: list[Event], kind: str, **fields: object) -> list[Event]:
    """Those with these fields. Raises :class:`LaboratoryError` if there are none."""
    found = [event for event in events if event["kind"] == kind and fields.items() <= event.items()]
    if not found:
        raise LaboratoryError(f"the event stream does not tell: {kind} {fields}")
    return found


def _t(events: list[Event], kind: str) -> float:
    return float(of_kind(events, kind)[0]["t"])
