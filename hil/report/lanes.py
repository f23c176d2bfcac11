"""The states of the nodes over the time, as :class:`hil.view.View` tells them: one lane per node and level.

A lane is a list of changes (time, state), each of which holds until the next one. The states of a level are the
cluster's word about a node, not the node's own: after a loss of power they stay "joined" until the others have noticed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hil.view import LEVEL_NAMES

if TYPE_CHECKING:
    from hil.report.run import Run
    from hil.view import Event, NodeView, View

Lane = list[tuple[float, str]]

MACHINE: Final = "machine"
STATE: Final = "node"
"""The node's own word of its state."""

_MASTER_CHANGES: Final = frozenset(
    {
        *("membership", "guestd-started", "guestd-exited", "machine-started", "machine-stopped", "machine-crashed"),
        *("machine-reset", "machine-paused", "machine-resumed"),
    }
)
"""Kinds after which the view may have another master."""


@dataclass
class NodeLanes:
    """``lanes``: ``machine``, ``node``, then one per level, by its number."""

    node: int
    lanes: dict[str, Lane] = field(default_factory=dict)
    incarnations: list[tuple[float, int]] = field(default_factory=list)
    masters: list[tuple[float, bool]] = field(default_factory=list)
    """When it began and ceased to be the master."""
    panics: list[tuple[float, int, str]] = field(default_factory=list)
    """Time, number of the event, reason."""


@dataclass
class Lanes:
    """``levels``: number to name, ascending."""

    nodes: list[NodeLanes]
    levels: dict[int, str]


def lanes(run: Run) -> Lanes:
    """Of that run. Raises :class:`hil.errors.UsageError` as :meth:`Run.follow`."""
    drawn = [NodeLanes(number) for number in range(run.nodes)]
    master: int | None = None

    def told(event: Event, view: View) -> None:
        nonlocal master
        for number in _concerned(event, view):
            _enter(drawn[number], view.nodes[number], event)
        if event["kind"] == "panic":
            drawn[event["node"]].panics.append((event["t"], event["n"], str(event["reason"])))
        if event["kind"] in _MASTER_CHANGES and (now := view.master) != master:
            for who, is_master in ((master, False), (now, True)):
                if who is not None:
                    drawn[who].masters.append((event["t"], is_master))
            master = now

    view = run.follow(told)
    told_levels = {level: name for level, (name, _) in sorted(view.subsystems.items())}
    return Lanes(drawn, told_levels or LEVEL_NAMES)


def _concerned(event: Event, view: View) -> set[int]:
    """The nodes whose lanes may have changed."""
    named = [event.get("node"), event.get("subject"), *(event.get("subjects") or ())]
    return {number for number in named if isinstance(number, int) and 0 <= number < len(view.nodes)}


def _enter(drawn: NodeLanes, node: NodeView, event: Event) -> None:
    _change(drawn, MACHINE, event["t"], machine_state(node))
    _change(drawn, STATE, event["t"], node.state)
    for level in {*node.levels, *(int(name) for name in drawn.lanes if name.isdigit())}:
        _change(drawn, str(level), event["t"], node.levels.get(level, "inactive"))
    if node.incarnation and (not drawn.incarnations or drawn.incarnations[-1][1] != node.incarnation):
        drawn.incarnations.append((event["t"], node.incarnation))


def _change(drawn: NodeLanes, name: str, t: float, state: str) -> None:
    lane = drawn.lanes.setdefault(name, [])
    if not lane or lane[-1][1] != state:
        lane.append((t, state))


def machine_state(node: NodeView) -> str:
    """off, booting (its power is on, its guestd not there yet), running, paused, crashed, or guestd ended."""
    if node.power == "starting" or (node.power == "running" and node.guestd in ("absent", "waiting")):
        return "booting"
    if node.power == "running" and node.guestd == "exited":
        return "guestd ended"
    return node.power


def as_data(drawn: Lanes) -> dict[str, Any]:
    """For the page."""
    return {
        "levels": [[level, name] for level, name in drawn.levels.items()],
        "nodes": [
            {
                "id": one.node,
                "lanes": one.lanes,
                "incarnations": one.incarnations,
                "masters": one.masters,
                "panics": one.panics,
            }
            for one in drawn.nodes
        ],
    }
