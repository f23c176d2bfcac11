"""``hil demo power-failure``: three nodes join, lose power at the same instant, boot and join again, with the times.

The times come from the event stream (the bench's clock), not from when this process happened to look.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hil.errors import LaboratoryError
from hil.view import Event, View

if TYPE_CHECKING:
    from hil.client import Cluster
    from hil.config import ClusterConfig


class Display(Protocol):
    """What the demo shows itself on; :class:`hil.cli.progress.JoinProgress` is one."""

    title: str | None

    def on_event(self, event: Event, view: View) -> None:
        """Told of every event."""

    def on_image(self, stage: str, done: int, total: int) -> None:
        """Told how far the image's build has come."""

    def say(self, line: str) -> None:
        """One line that stays."""

    def leave_table(self, view: View) -> None:
        """Leave the table as it is now."""


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
class Report:
    """What ``--json`` prints; ``total`` is from the first power on of the mass reboot until the last has joined."""

    cluster: str
    run_dir: str
    accelerator: str
    first_join: float
    """Seconds from the first power on of the cold start until all have joined."""
    nodes: list[NodeTimes]
    total: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def power_failure(config: ClusterConfig, display: Display, *, keep: bool = False) -> Report:
    """Run the demo; the cluster is taken down afterwards, whatever happened, unless ``keep``.

    Raises what the client raises: :class:`hil.errors.ClaimFailed` if the nodes do not join (again) in time,
    :class:`hil.errors.LaboratoryError` if something broke.
    """
    from hil.client import Cluster

    display.title = "cold start"
    cluster = Cluster.up(config, on_event=display.on_event, on_image=display.on_image)
    try:
        return _story(cluster, display)
    finally:
        if keep:
            cluster.close()
            display.say(f"cluster {cluster.name} stays up; `hil down {cluster.name}` ends it")
        else:
            cluster.down()


def _story(cluster: Cluster, display: Display) -> Report:
    from hil.cli.lines import slowness

    if (notice := slowness(cluster.settings["settings"])) is not None:
        display.say(notice)
    first_join = _seconds_to_join(cluster.wait_joined())
    display.leave_table(cluster.view)
    display.say(f"all {len(cluster.nodes)} nodes joined {first_join:.1f} s after power on; now a power failure")

    display.title = "power failure"
    cluster.power_off()
    cluster.wait(_why_not_all_off, about="all machines off")
    off_at = [_known(node.power_off_t, node.id, "power off") for node in cluster.view.nodes]
    display.say(f"power is off everywhere ({_spread(off_at):.2f} s from the first to the last); power on")

    display.title = "mass reboot"
    cluster.power_on()
    view = cluster.wait_joined()
    display.leave_table(view)
    return Report(
        cluster=cluster.name,
        run_dir=str(cluster.run_dir),
        accelerator=str(cluster.settings["settings"]["accelerator"]),
        first_join=round(first_join, 3),
        nodes=[node_times(view, node.id, off) for node, off in zip(view.nodes, off_at, strict=True)],
        total=round(_seconds_to_join(view), 3),
    )


def _why_not_all_off(view: View) -> str | None:
    running = [node.id for node in view.nodes if node.power != "off"]
    return f"still on: {', '.join(map(str, running))}" if running else None


def _spread(times: list[float]) -> float:
    return max(times) - min(times)


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


def report_lines(report: Report) -> list[str]:
    """The report for people: one line per node, then the total."""
    lines = ["seconds     off   kernel   guestd   joined   (these three since power on)"]
    for times in report.nodes:
        kernel = "-" if times.kernel is None else f"{times.kernel:.2f}"
        lines.append(
            f"node {times.node:<3} {times.off:7.2f}  {kernel:>7}  {times.guestd:7.2f}  {times.joined:7.2f}".rstrip()
        )
    lines.append(f"total: {report.total:.2f} s from power on until all {len(report.nodes)} nodes have joined")
    return lines
