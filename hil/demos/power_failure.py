"""``hil demo power-failure``: all nodes lose power at the same instant while they work, boot, join and go on.

The times come from the event stream (the bench's clock), not from when this process happened to look.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hil.demos.chart import Bar, chart
from hil.demos.display import LOAD, PROGRESS, Display, named, nothing_lost, shown
from hil.errors import LaboratoryError

if TYPE_CHECKING:
    from hil.config import ClusterConfig
    from hil.scenario import ScenarioCluster
    from hil.view import Event, View

STAGES = ("kernel", "guestd", "joined")


@dataclass(frozen=True)
class NodeTimes:
    """One node's way back. All in seconds; ``kernel``, ``guestd`` and ``joined`` count from its power on."""

    node: int
    off: float
    """How long it was without power."""
    kernel: float | None
    """Its kernel has reached the initramfs (by the guest's own clock); None if the node did not tell."""
    guestd: float
    joined: float


@dataclass(frozen=True)
class ServiceTimes:
    """A service that is registered again: where, where it was before, and seconds since the first power on."""

    service: str
    before: int
    node: int
    registered: float


@dataclass(frozen=True)
class Report:
    """What ``--json`` prints; ``total`` is from the first power on of the mass reboot until the last has joined."""

    cluster: str
    run_dir: str
    accelerator: str
    first_join: float
    """Seconds from the first power on of the cold start until all have joined."""
    nodes: list[NodeTimes]
    services: list[ServiceTimes]
    journals: list[int]
    """Nodes whose journal of the shared file system said something, and was replayed."""
    acknowledged: int
    """Writes of the programs that had been acknowledged when the power failed."""
    verified: int
    """Acknowledged writes, those after the reboot included, that each node has read afterwards: all that there were."""
    total: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        stages = [name for name in STAGES if all(getattr(one, name) is not None for one in self.nodes)]
        bars = [Bar(f"node {one.node}", tuple((name, getattr(one, name)) for name in stages)) for one in self.nodes]
        lines = ["seconds since power on:", *chart(bars)]
        lines += [
            f"service {one.service}: on node {one.node} after {one.registered:.2f} s (it was on node {one.before})"
            for one in self.services
        ]
        whose = f"replayed, of {named(self.journals)}" if self.journals else "empty: no change was under way"
        lines.append(f"journals of the shared file system: {whose}")
        lines.append(nothing_lost(self.acknowledged, self.verified, "the power failure"))
        lines.append(f"total: {self.total:.2f} s from power on until all {len(self.nodes)} nodes have joined")
        return lines


def power_failure(config: ClusterConfig, display: Display, *, seed: int | None = None, keep: bool = False) -> Report:
    """Run the demo; ``seed`` and ``keep`` as in :func:`hil.demos.display.shown`.

    Raises what the client raises: :class:`hil.errors.ClaimFailed` if the nodes do not join (again) in time, or a write
    that was acknowledged is lost; :class:`hil.errors.LaboratoryError` if something broke.
    """
    with shown(config, display, seed=seed, keep=keep) as cluster:
        first_join = _seconds_to_join(cluster.view)
        display.say(f"all {len(cluster.nodes)} nodes joined {first_join:.1f} s after power on")
        display.title = "programs and services begin"
        display.say("programs write to the shared file system on every node, and services run")
        with cluster.workload(*LOAD) as load:
            load.wait_progress(PROGRESS)
            return _story(cluster, display, load, first_join)


def _story(cluster: ScenarioCluster, display: Display, load: Any, first_join: float) -> Report:
    view = cluster.poll()
    where = {name: view.services[name].registered_on[0] for name in load.services}
    acknowledged = load.acknowledged()["files"]
    display.title = "power failure"
    before = cluster.view.n
    cluster.power_off()
    cluster.wait(_why_not_all_off, about="all machines off")
    off_at = [_known(node.power_off_t, node.id, "power off") for node in cluster.view.nodes]
    spread = max(off_at) - min(off_at)
    display.say(f"power is off everywhere ({spread:.2f} s from the first to the last); power on")

    display.title = "mass reboot"
    on_from = cluster.view.n
    cluster.power_on()
    view = cluster.wait_joined()
    display.leave_table(view)
    times = [node_times(view, node.id, off) for node, off in zip(view.nodes, off_at, strict=True)]
    total = _seconds_to_join(view)
    on_t = min(_known(node.power_on_t, node.id, "power on") for node in view.nodes)
    for name in load.services:
        cluster.services.wait_registered(name)
    steps = [step for step in cluster.services.steps(since=on_from) if step.state == "registered"]
    again = {step.service: step for step in reversed(steps)}

    display.title = "is everything there?"
    display.say("all are back; every node reads what was acknowledged, and the programs go on")
    load.resume()
    load.wait_progress()
    verified = load.check()["files"]
    cluster.check_panics()
    return Report(
        cluster=cluster.name,
        run_dir=str(cluster.run_dir),
        accelerator=str(cluster.settings["settings"]["accelerator"]),
        first_join=round(first_join, 3),
        nodes=times,
        services=[
            ServiceTimes(name, where[name], _node_of(again, name), round(again[name].t - on_t, 3))
            for name in load.services
        ],
        journals=replayed(cluster.events(since=before)),
        acknowledged=acknowledged,
        verified=verified,
        total=round(total, 3),
    )


def replayed(events: Any) -> list[int]:
    """The nodes whose journals said something, by those who have replayed them."""
    told: list[Event] = [event for event in events if event["kind"] == "journal-replayed" and event.get("found")]
    return sorted({int(event["subject"]) for event in told})


def _node_of(steps: Any, name: str) -> int:
    node: int | None = steps[name].node
    assert node is not None, "a service that is registered has a node"
    return node


def _why_not_all_off(view: View) -> str | None:
    running = [node.id for node in view.nodes if node.power != "off"]
    return f"still on: {', '.join(map(str, running))}" if running else None


def _seconds_to_join(view: View) -> float:
    """From the first power on until the last node joined."""
    on = [_known(node.power_on_t, node.id, "power on") for node in view.nodes]
    joined = [_known(node.joined_t, node.id, "joined") for node in view.nodes]
    return max(joined) - min(on)


def node_times(view: View, node_id: int, off_t: float) -> NodeTimes:
    """The times of one node that lost power at ``off_t`` and has joined again."""
    node = view.nodes[node_id]
    on_t = _known(node.power_on_t, node_id, "power on")
    return NodeTimes(
        node=node_id,
        off=round(on_t - off_t, 3),
        kernel=None if node.kernel_t is None else round(node.kernel_t - on_t, 3),
        guestd=round(_known(node.guestd_t, node_id, "guestd started") - on_t, 3),
        joined=round(_known(node.joined_t, node_id, "joined") - on_t, 3),
    )


def _known(t: float | None, node: int, what: str) -> float:
    if t is None:
        raise LaboratoryError(f"node {node}: the event stream does not tell when: {what}")
    return t
