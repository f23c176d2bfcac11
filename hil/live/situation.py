"""What goes on in the cluster besides the grid: what went wrong, transitions under way, faults in force, services."""

from __future__ import annotations

from collections.abc import Iterator

from hil.cli.tables import levels_of, service_lines, troubles_of
from hil.live.grid import LEAVES, levels_shown, state_of
from hil.live.lines import Line
from hil.view import UNDER_WAY, NodeView, View

NOTHING = ("no transition, no fault, no service", "dim")


def situation(view: View) -> list[Line]:
    """A line for each, the most urgent first."""
    return [*_troubles(view), *_transitions(view), *_faults(view), *_services(view)] or [NOTHING]


def _line(label: str, text: str, style: str = "") -> Line:
    return f"{label:<11} {text}", style


def _troubles(view: View) -> Iterator[Line]:
    if view.broken is not None:
        yield _line("broken", view.broken, "bold red")
    for node in view.nodes:
        if told := troubles_of(node):
            yield _line("trouble", f"n{node.id}: {'; '.join(told)}", "red")


def _transitions(view: View) -> Iterator[Line]:
    for node in view.nodes:
        state, at = transition_of(node, view), levels_under_way(node, view)
        if not at and state not in UNDER_WAY.values() and not node.waiting:
            continue
        told = f"n{node.id}: {state}"
        told += f", at {', '.join(at)}" if at else ""
        told += f", waits for {node.waiting}" if node.waiting else ""
        yield _line("transition", told, "red" if state == UNDER_WAY["forced-leave"] else "yellow")


def transition_of(node: NodeView, view: View) -> str:
    """Its state; the others' word where they make it leave, for it may not know."""
    others = view.newest.nodes.get(node.id, ("inactive", 0))[0]
    return others if others in LEAVES else state_of(node, view)


def levels_under_way(node: NodeView, view: View) -> list[str]:
    """The levels of the node that not all have acknowledged yet (spec S4), as "20 VDM"."""
    names = levels_of(view)
    shown = sorted(levels_shown(node, view).items())
    return [
        f"{level} {names[level][0]}" if level in names else str(level)
        for level, state in shown
        if state in UNDER_WAY.values()
    ]


def _faults(view: View) -> Iterator[Line]:
    for node in (None, *range(len(view.nodes))):
        if faults := view.faults.get(node):
            yield _line("fault", f"{'all' if node is None else f'n{node}'}: {', '.join(faults)}", "yellow")


def _services(view: View) -> Iterator[Line]:
    for told in service_lines(view):
        label, _, text = told.partition(" ")
        yield _line(label.rstrip(":"), text)
