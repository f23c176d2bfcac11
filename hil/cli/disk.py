"""``hil disk``: a verb per kind of fault, made from the target's own table, and ``heal`` and ``status``."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli import disk_record
from hil.cli.nodes import ALL, connected, parse_nodes
from hil.cli.options import AsJson, Name, NodeArguments
from hil.errors import UsageError
from hil.scsi.faults.kinds import KINDS, REFUSE_LOGIN, VOLATILE_CACHE
from hil.scsi.faults.parameters import Integer
from hil.scsi.operation import Direction

if TYPE_CHECKING:
    from hil.client import Cluster
    from hil.scsi.faults.fault import Kind

DirectionOption = Annotated[
    str | None,
    typer.Option(
        "--direction", metavar="D", help="read, write, flush, reserve, other, media (read, write, flush) or any."
    ),
]
Lba = Annotated[
    str | None, typer.Option("--lba", metavar="A[-B]", help="Only commands that touch these blocks of 512 bytes.")
]
Lun = Annotated[int | None, typer.Option("--lun", metavar="N", min=0, help="Only this logical unit.")]
Count = Annotated[int | None, typer.Option("--count", metavar="N", help="Only the next N commands of each node.")]
Seconds = Annotated[float | None, typer.Option("--for", metavar="S", help="Heal by itself after S seconds.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    disk = typer.Typer(
        help="Faults of the shared disk and of the paths to it, and the record of what was done with it.\n\n"
        "A fault is in force when its verb returns. `hil disk status` shows it, `hil disk heal` ends it.",
        no_args_is_help=True,
    )
    for name, kind in KINDS.items():
        disk.command(name, help=f"{kind.about[0].upper()}{kind.about[1:]}.")(_verb(name, kind))
    disk.command("heal")(heal)
    disk.command("status")(status)
    disk_record.register(disk)
    app.add_typer(disk, name="disk")


def _verb(name: str, kind: Kind) -> Callable[..., None]:
    """The function behind one kind; its signature is what the command line is made from."""

    def verb(**given: Any) -> None:
        nodes, cluster_name = given.pop("nodes"), given.pop("name")
        options = {key: given.pop(key, None) for key in ("direction", "lun", "count", "seconds")}
        lba = parse_lba(given.pop("lba", None))
        parameters = {key: value for key, value in given.items() if value is not None}
        with connected(cluster_name) as cluster:
            # There is one cache, whoever's writes may be lost from it.
            together = name == VOLATILE_CACHE and nodes == [ALL]
            chosen = None if together else [cluster.nodes[i] for i in parse_nodes(nodes, len(cluster.nodes))]
            fault = cluster.disk.inject(name, chosen, lba=lba, **options, **parameters)
        whom = ["all nodes"] if chosen is None else [f"node {node.id}" for node in chosen]
        for who, number in zip(whom, fault.numbers, strict=True):
            print(f"{who}: disk {name} (fault {number})")

    verb.__signature__ = inspect.Signature(_parameters(name, kind))  # type: ignore[attr-defined]
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in _parameters(name, kind)}
    return verb


def _parameters(name: str, kind: Kind) -> list[inspect.Parameter]:
    found = [_parameter("nodes", NodeArguments)]
    if kind.directions:
        found += [_parameter("direction", DirectionOption, None), _parameter("lba", Lba, None)]
    if kind.directions or name == REFUSE_LOGIN:
        found.append(_parameter("count", Count, None))
    found += [_parameter("lun", Lun, None), _parameter("seconds", Seconds, None)]
    for key, about in kind.parameters.items():
        legal = f"{about.lowest} to {about.highest}" if isinstance(about, Integer) else ", ".join(about.options)
        default = "needed" if about.default is None else f"default {about.default}"
        text = f"{about.about[0].upper()}{about.about[1:]}: {legal} ({default})."
        option = typer.Option(f"--{key}", metavar="N" if isinstance(about, Integer) else "NAME", help=text)
        sort = int if isinstance(about, Integer) else str
        found.append(_parameter(key, Annotated[sort | None, option], None))
    found.append(_parameter("name", Name, None))
    return found


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def parse_lba(text: str | None) -> tuple[int, int] | None:
    """``A-B`` or ``A``: first and last block. Raises :class:`UsageError`."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,15})(?:-(\d{1,15}))?", text, re.ASCII)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise UsageError(f"--lba {text!r}: a block or a range is legal, as 2048 or 2048-4095")
    return int(match[1]), int(match[2] or match[1])


def heal(
    nodes: NodeArguments,
    fault: Annotated[
        int | None, typer.Option("--fault", metavar="N", help="Only fault N of `hil disk status`.")
    ] = None,
    name: Name = None,
) -> None:
    """Heal disk faults: all of the named nodes, or with `all` every one; what they held goes on."""
    with connected(name) as cluster:
        chosen = None if nodes == [ALL] else [cluster.nodes[i] for i in parse_nodes(nodes, len(cluster.nodes))]
        healed = cluster.disk.heal(chosen, fault)
        if fault is not None and not healed["healed"]:
            there = ", ".join(str(about["number"]) for about in cluster.disk.status()["faults"]) or "none"
            raise UsageError(f"no disk fault {fault} of these nodes; there are: {there}")
    if not healed["healed"]:
        print("no disk fault to heal")
    if healed["everybodys"] and fault is None:
        print(f"in force for everybody: fault {', '.join(map(str, healed['everybodys']))}; `hil disk heal all` ends it")
    if not healed["healed"]:
        return
    numbers = ", ".join(map(str, healed["healed"]))
    print(f"healed: fault {numbers}; {healed['released']} held command{'s' if healed['released'] != 1 else ''} go on")


def status(name: Name = None, as_json: AsJson = False) -> None:
    """Show the disk faults in force: whom they are for, how often they struck, and what they hold.

    With --json: one object with the keys commands (how many the ledger has) and faults, a list of {number, fault, node
    (null: everybody's), lun, directions, lba, parameters, left (commands still to be struck, null: all), seconds,
    struck, held (commands: node, operation, lba, blocks), initiator, portal}.
    """
    with connected(name) as cluster:
        found = cluster.disk.status()
        if as_json:
            print(json.dumps(found, indent=2))
        else:
            _print_status(cluster, found)


def _print_status(cluster: Cluster, found: dict[str, Any]) -> None:
    faults = len(found["faults"])
    told = f"{faults} fault{'s' if faults != 1 else ''} in force" if faults else "no fault in force"
    print(f"disk of cluster {cluster.name}: {found['commands']} commands, {told}")
    for fault in found["faults"]:
        who = "all" if fault["node"] is None else f"n{fault['node']}"
        print(f"  {fault['number']:3} {who:>4} {fault['fault']:<15} struck {fault['struck']}{_limits(fault)}")
        for held in fault["held"]:
            whose = f"n{held['node']}"
            print(f"           holds {whose} {held['operation']} LBA {held['lba']}+{held['blocks']}")


def _limits(fault: dict[str, Any]) -> str:
    """What narrows it, in words."""
    told = [f"{key} {value}" for key, value in fault["parameters"].items()]
    if 0 < len(fault["directions"]) < len(Direction):
        told.append("+".join(fault["directions"]))
    if fault["lba"] is not None:
        told.append(f"LBA {fault['lba'][0]}-{fault['lba'][1]}")
    if fault["lun"] is not None:
        told.append(f"LUN {fault['lun']}")
    if fault["left"] is not None:
        told.append(f"{fault['left']} more")
    if fault["seconds"] is not None:
        told.append(f"for {fault['seconds']:g} s")
    return f"; {', '.join(told)}" if told else ""
