"""``hil service``: the client services of a running cluster, as administrators see and change them (spec S9)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.nodes import connected, parse_node
from hil.cli.options import AsJson, Name

if TYPE_CHECKING:
    from hil.client import Cluster

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="A service's name.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it has taken effect (status 1: it cannot).")]
Patience = Annotated[
    float | None,
    typer.Option("--timeout", metavar="S", min=0, help="How long to wait; default: by the speed of this machine."),
]

AWAITING = "awaiting maturity"


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    group = typer.Typer(help="The client services of a cluster: what runs where.", no_args_is_help=True)
    group.command("add")(add)
    group.command("change")(change)
    group.command("remove")(remove)
    group.command("move")(move)
    group.command("start")(start)
    group.command("stop")(stop)
    group.command("list")(show_all)
    group.command("show")(show)
    app.add_typer(group, name="service")


def add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.toml...", help="Service files.")],
    wait: Wait = True,
    timeout: Patience = None,
    name: Name = None,
) -> None:
    """Add the services of files, all or none.

    The files are checked here first: each problem is told with its file, line and field, and then nothing is sent. A
    service that is registered by itself (`auto_register`) is waited for, unless the cluster is not mature for it yet.
    """
    with connected(name) as cluster:
        tables = cluster.services.read(files)
        cluster.services.add_tables(tables)
        names = [str(table["name"]) for table in tables]
        if not wait:
            print(f"added: {', '.join(names)}")
            return
        added = {one["name"]: one for one in cluster.services.list()["services"] if one["name"] in names}
        for each in names:
            told = added.get(each, {})
            if told.get("enabled", True) and AWAITING not in _states(told):
                cluster.services.wait_registered(each, timeout=timeout)
            elif not told.get("enabled", True):
                print(f"{each}: added; `hil service start {each}` has it registered")
                continue
            else:
                print(f"{each}: added; it awaits the maturity of the cluster")
                continue
            print(f"{each}: {_now(cluster, each)}")


def change(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.toml...", help="Service files.")], name: Name = None
) -> None:
    """Give services other parameters and commands, all or none. Nothing is stopped, started or moved for that.

    The files are checked here first, as those of `hil service add`. A service's parent and its placement_policy stay.
    """
    with connected(name) as cluster:
        tables = cluster.services.read(files, there=True)
        cluster.services.change_tables(tables)
    print(f"changed: {', '.join(str(table['name']) for table in tables)}")


def remove(service: Service, wait: Wait = True, timeout: Patience = None, name: Name = None) -> None:
    """De-register a service and all below it, and forget them."""
    with connected(name) as cluster:
        cluster.services.remove(service)
        if wait:
            cluster.services.wait_removed(service, timeout)
    print(f"{service}: {'removed' if wait else 'is being removed'}")


def move(
    service: Service,
    node: Annotated[str | None, typer.Argument(metavar="[NODE]", help="Where to; none: the best other one.")] = None,
    wait: Wait = True,
    timeout: Patience = None,
    name: Name = None,
) -> None:
    """Transfer a service, with all below it, to another node."""
    from hil.errors import ClaimFailed

    with connected(name) as cluster:
        target = None if node is None else parse_node(node, len(cluster.nodes))
        before = _newest(cluster, service)
        cluster.services.move(service, target)
        if not wait:
            print(f"{service}: is being moved")
            return
        cluster.services.wait_transferred(service, before, timeout)
        now = _now(cluster, service)
        there = cluster.view.services[service].registered_on
        if target is not None and target not in there:
            raise ClaimFailed(f"{service} moved to node {target}: its start has failed there; it is {now}")
        print(f"{service}: {now}")


def start(service: Service, wait: Wait = True, timeout: Patience = None, name: Name = None) -> None:
    """Have a service registered; where its start has failed it may be tried again."""
    with connected(name) as cluster:
        cluster.services.start(service)
        if not wait:
            print(f"{service}: is being started")
            return
        told = cluster.services.show(service)
        if AWAITING in _states(told):
            print(f"{service}: awaits the maturity of the cluster")
            return
        cluster.services.wait_registered(service, timeout=timeout)
        print(f"{service}: {_now(cluster, service)}")


def stop(service: Service, wait: Wait = True, timeout: Patience = None, name: Name = None) -> None:
    """De-register a service and all below it; it stays so until it is started."""
    with connected(name) as cluster:
        cluster.services.stop(service)
        if wait:
            cluster.services.wait_deregistered(service, timeout)
    print(f"{service}: {'stopped' if wait else 'is being stopped'}")


def show_all(as_json: AsJson = False, name: Name = None) -> None:
    """List the services: state, flags (T transfer intent, M awaiting maturity, N has notify), nodes, parent.

    A child stands below its parent. With --json: one object with the keys number (of the newest transaction), services
    (a list of {name, state, flags, parent, enabled, nodes, registration}) and nodes (a list of {node, state,
    incarnation, load, failures, quarantined}), as one of the nodes tells it.
    """
    with connected(name) as cluster:
        told = cluster.services.list()
    if as_json:
        print(json.dumps(told, indent=2))
    elif not told["services"]:
        print("no services; `hil service add FILE.toml` adds some")
    else:
        _print_table(told["services"])


def show(
    service: Service,
    explain: Annotated[bool, typer.Option("--explain", help="Rule by rule: why it is where it is.")] = False,
    as_json: AsJson = False,
    name: Name = None,
) -> None:
    """Show one service: its state, where it is, why, its group, and its last command on the node that was asked.

    With --json: one object with the keys of `hil service list --json`, and definition, instances, failed, children,
    explain (for each node: chosen, and why), why and last_command.
    """
    with connected(name) as cluster:
        told = cluster.services.show(service)
    if as_json:
        print(json.dumps(told, indent=2))
        return
    for line in _description(told, explain=explain):
        print(line)


# -- what is printed


def _states(told: dict[str, Any]) -> tuple[str, bool | str]:
    """The state, and the flag M in words."""
    return str(told.get("state", "-")), AWAITING if "M" in told.get("flags", "") else ""


def _now(cluster: Cluster, service: str) -> str:
    seen = cluster.poll().services.get(service)
    return "removed" if seen is None else str(seen)


def _newest(cluster: Cluster, service: str) -> int:
    seen = cluster.view.services.get(service)
    return 0 if seen is None else seen.newest_number


def _places(told: dict[str, Any]) -> str:
    """As "n0" where all is as the state says; else "n0 starting, n1 registered"."""
    nodes: dict[str, str] = told.get("nodes", {})
    there = sorted(
        ((int(node), state) for node, state in nodes.items() if state not in ("-", "")), key=lambda one: one[0]
    )
    if all(state == told["state"] for _, state in there):
        return " ".join(f"n{node}" for node, _ in there) or "-"
    return ", ".join(f"n{node} {state}" for node, state in there)


def in_groups(services: Iterable[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Each with its depth: parents by name, each followed by its children."""
    by_parent: dict[str, list[dict[str, Any]]] = {}
    there = {one["name"]: one for one in services}
    for one in sorted(there.values(), key=lambda each: str(each["name"])):
        parent = one.get("parent") or ""
        by_parent.setdefault(parent if parent in there else "", []).append(one)
    made: list[tuple[int, dict[str, Any]]] = []

    def below(parent: str, depth: int) -> None:
        for one in by_parent.get(parent, ()):
            made.append((depth, one))
            below(one["name"], depth + 1)

    below("", 0)
    return made


def _print_table(services: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("service", "state", "flags", "nodes", "parent"):
        table.add_column(title, overflow="fold")
    for depth, one in in_groups(services):
        state = one["state"] if one.get("enabled", True) or one["state"] != "-" else "- (stopped)"
        cells = ["  " * depth + one["name"], state, one.get("flags") or "-", _places(one), one.get("parent") or "-"]
        table.add_row(*map(Text, cells))
    output = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=240)
    with output.capture() as screen:
        output.print(table)
    for line in screen.get().splitlines():
        print(line.rstrip())


def _description(told: dict[str, Any], *, explain: bool) -> list[str]:
    flags = f", flags {told['flags']}" if told.get("flags") else ""
    lines = [f"{told['name']}: {told['state']}, {_places(told)}, registration {told.get('registration') or 0}{flags}"]
    if not told.get("enabled", True):
        lines.append(f"  it is not to be registered: `hil service start {told['name']}`")
    if told.get("why"):
        lines.append(f"  why: {told['why']}")
    if told.get("parent"):
        lines.append(f"  parent: {told['parent']}")
    if told.get("children"):
        lines.append(f"  children: {', '.join(told['children'])}")
    failed = sorted({one[0] if isinstance(one, list) else one for one in told.get("failed", [])})
    if failed:
        lines.append(f"  failed on node {', '.join(map(str, failed))}; `hil service start {told['name']}` tries again")
    if explain:
        lines += _explained(told.get("explain", []))
        lines += [
            f"  {key} = {json.dumps(value)}" for key, value in told.get("definition", {}).items() if key != "name"
        ]
    if last := told.get("last_command"):
        lines.append(f"  last command: {last if isinstance(last, str) else _short(last)}")
    return lines


def _explained(verdicts: list[dict[str, Any]]) -> list[str]:
    """One line for each node, the rules in the order in which they were asked."""
    return [
        f"  node {one['node']}: {'chosen' if one.get('chosen') else 'not chosen'}: {'; '.join(one['why'])}"
        for one in verdicts
    ]


def _short(last: dict[str, Any]) -> str:
    return " ".join(
        f"{key}={value if isinstance(value, str | int) else json.dumps(value)}" for key, value in last.items()
    )
