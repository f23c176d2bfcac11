"""The nodes by levels table of ``hil status``, ``hil up`` and the demo, drawn from a :class:`hil.view.View`."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hil.view import LEVEL_NAMES, NodeView, View

ACKNOWLEDGES_ONLY = "acknowledges only"
"""What is said of a level whose subsystem does no work of its own yet (guestd's event ``subsystems``)."""

SERVICES_MAX = 12
"""With more of them the status says only how many there are where."""

STYLES = {
    "running": "green",
    "joined": "green",
    "crashed": "bold red",
    "exited": "red",
    "paused": "yellow",
    "joining": "yellow",
    "leaving": "yellow",
    "forced-leaving": "red",
}
"""Of the words of the tables, in rich's words; the colour never says more than the word."""


def levels_of(view: View) -> dict[int, tuple[str, bool]]:
    """Level to (name, does real work): as the nodes told it, else the built-in ones."""
    told = dict(sorted(view.subsystems.items()))
    return told or {level: (name, True) for level, name in LEVEL_NAMES.items()}


def headline(name: str, view: View) -> str:
    """One line about the whole cluster."""
    joined = view.newest.joined()
    master = "none" if view.master is None else f"n{view.master}"
    return f"cluster {name}: {len(joined)} of {len(view.nodes)} nodes joined, epoch {view.epoch}, master {master}"


def troubles_of(node: NodeView) -> list[str]:
    """What went wrong with a node: why it cannot start, panicked, was refused, or has no guestd."""
    troubles = []
    if node.off_reason:
        troubles.append(f"cannot start: {node.off_reason}")
    if node.panic_reason:
        troubles.append(f"panic: {node.panic_reason}")
    if node.refused:
        troubles.append(f"refused: {node.refused}")
    if node.guestd == "exited" and node.guestd_status:
        troubles.append(f"guestd ended with status {node.guestd_status}")
    return troubles


def remarks_on(node: NodeView, view: View) -> str:
    """What else is to be said of a node: its faults, what went wrong, what it waits for."""
    remarks = [*view.faults.get(node.id, []), *troubles_of(node)]
    if node.waiting:
        remarks.append(f"waits for {node.waiting}")
    if node.silent_luns:
        remarks.append(f"LUN {', '.join(map(str, sorted(node.silent_luns)))} does not answer")
    if node.not_begun:
        remarks.append(f"cannot begin {node.not_begun}")
    return "; ".join(remarks)


def node_table(view: View) -> Table:
    """One row per node: machine, guestd, incarnation, state, epoch, one column per level. Fits 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for title in ("node", "machine", "guestd", "inc", "state", "epoch"):
        table.add_column(title, overflow="fold")
    levels = levels_of(view)
    for level, (name, real) in levels.items():
        title = name.replace("-", "-\n", 1) + ("" if real else "*")
        table.add_column(f"{level}\n{title}", overflow="fold")
    for node in view.nodes:
        cells = [f"n{node.id}", node.power, node.guestd, str(node.incarnation or "-"), node.state]
        cells.append(str(node.membership.epoch or "-"))
        # A level's state belongs to a life: it is history once the machine is off.
        live = node.power == "running" and node.guestd == "running"
        cells += [node.levels.get(level, "-") if live else "-" for level in levels]
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in cells))
    return table


def footnote(view: View) -> str | None:
    """What the asterisk in the header means, if there is one."""
    fakes = [name for name, real in levels_of(view).values() if not real]
    return f"* {ACKNOWLEDGES_ONLY}: {', '.join(fakes)}" if fakes else None


def service_lines(view: View) -> list[str]:
    """One line for each service of which something was told; where they are many, one for each state of each node."""
    services = [service for _, service in sorted(view.services.items())]
    if len(services) <= SERVICES_MAX:
        flags = {service.name: f" [{service.flags}]" if service.flags else "" for service in services}
        return [f"service {service.name}: {service}{flags[service.name]}" for service in services]
    counts: Counter[str] = Counter()
    for service in services:
        counts.update(map(str, service.live) if service.live else ["not registered"])
    told = [f"{count} {what}" for what, count in sorted(counts.items())]
    return [f"services: {', '.join(told)}; `hil service list` shows each"]


def status_screen(name: str, view: View, title: RenderableType | None = None) -> RenderableType:
    """Headline (or ``title``), table, one line for each node of which there is more to say, and footnote."""
    parts: list[RenderableType] = [title or Text(headline(name, view), style="bold"), node_table(view)]
    if view.broken is not None:
        parts.append(Text(f"broken: {view.broken}", style="bold red"))
    if view.faults.get(None):
        parts.append(Text(f"all: {'; '.join(view.faults[None])}"))
    remarks = {node.id: remarks_on(node, view) for node in view.nodes}
    parts += [Text(f"n{node_id}: {remark}") for node_id, remark in remarks.items() if remark]
    parts += [Text(line) for line in service_lines(view)]
    if note := footnote(view):
        parts.append(Text(note, style="dim"))
    return Group(*parts)
