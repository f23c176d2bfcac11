"""``hil member show``: the membership database on the disk of a cluster, running or finished, or in an image."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hil.cli.disk_image import Image, image_of, print_screen
from hil.cli.options import AsJson, Name

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hil.database import Inspected, Record


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    group = typer.Typer(help="The membership database on the shared disk.", no_args_is_help=True)
    group.command("show")(show)
    app.add_typer(group, name="member")

    @group.callback()
    def _of_its_own() -> None:
        """Keeps `show` a verb of its own while it is the only one."""


def show(
    image: Image = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Show the membership database: every record, where it is, whether it can be believed, and what it says.

    With --name also of a cluster that is down: of its last run. Reads the image only; nothing is asked of the nodes.

    With --json: one object with the keys image, cluster, cluster_id, nodes (null without a valid header), membership
    (the newest valid commit, null if none) and records: a list of {record, node, copy, lba, validity, why, sequence,
    fields}. validity is ok, never written, damaged, foreign cluster, future version or former version.
    """
    from hil.database import inspect

    path = image_of(image, name)
    found = inspect(path)
    if as_json:
        about = found._asdict() | {"records": [asdict(one) for one in found.records]}
        print(json.dumps({"image": str(path), **about}, indent=2))
    else:
        print_screen(_screen(path, found))


def _screen(path: Path, found: Inspected) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for title in ("record", "node", "copy", "LBA", "validity", "seq"):
        table.add_column(title, no_wrap=True)
    table.add_column("says", overflow="fold")
    for one in found.records:
        style = {"ok": "green", "never written": "dim"}.get(one.validity, "bold red")
        cells = [one.record, "-" if one.node is None else f"n{one.node}", _or_dash(one.copy), str(one.lba)]
        table.add_row(*cells, Text(one.validity, style=style), _or_dash(one.sequence), Text(_says(one)))
    lines = [Text(f"{path}"), Text(_headline(found), style="bold")]
    return Group(*lines, table)


def _headline(found: Inspected) -> str:
    cluster = "no valid header" if found.cluster is None else f"cluster {found.cluster}, {found.nodes} nodes"
    view = found.membership
    if view is None:
        membership = "nothing was ever committed"
    else:
        members = [f"n{node}" for node, entry in enumerate(view["nodes"]) if entry["state"] != "inactive"]
        master = "none" if view["master"] is None else f"n{view['master']}"
        membership = f"epoch {view['epoch']}.{view['step']}, master {master}, members {', '.join(members) or 'none'}"
    wrong = found.damaged()
    return f"{cluster}, id {found.cluster_id or '-'}: {membership}" + (
        f"; cannot be believed: {wrong}" if wrong else ""
    )


def _says(one: Record) -> str:
    if one.fields is None:
        return one.why or ""
    if one.record != "commit":
        return " ".join(f"{key}={_text(value)}" for key, value in one.fields.items())
    nodes = " ".join(_entry(node, entry) for node, entry in enumerate(one.fields["nodes"]))
    return f"epoch={one.fields['epoch']}.{one.fields['step']} master={_or_dash(one.fields['master'])} {nodes}"


def _entry(node: int, entry: dict[str, Any]) -> str:
    """One node of a view: state, incarnation, and where its transition stands (level and barrier)."""
    at = "" if entry["level"] is None else f"@{entry['level']}.{entry['barrier']}"
    forced = ",forced" if entry["forced"] and entry["state"] == "inactive" else ""
    return f"n{node}:{entry['state']}({entry['incarnation']}{forced}){at}"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return f"'{value}'" if isinstance(value, str) and " " in value else str(value)


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
