"""``hil vdisk list``: the virtual disks on the disk of a cluster, running or finished, or in an image."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hil.cli.disk_image import Image, image_of, print_screen
from hil.cli.options import AsJson, Name

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hil.vdisk import Inspected, VirtualDisk


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    group = typer.Typer(help="The virtual disks on the shared disk.", no_args_is_help=True)
    group.command("list")(show)
    app.add_typer(group, name="vdisk")

    @group.callback()
    def _of_its_own() -> None:
        """Keeps `list` a verb of its own while it is the only one."""


def show(
    image: Image = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """List the virtual disks: size, copies, where their extents lie; and what of the tables cannot be believed.

    With --name also of a cluster that is down: of its last run. Reads the image only; nothing is asked of the nodes.
    `guestctl vdisk` on a node creates, grows and deletes them.

    With --json: one object with the keys image, cluster_id, sequence, free (bytes), refused (why the tables cannot be
    believed, or null), pending (the change that the next node completes, or null), disks (a list of {name, size, fixed,
    copies, extents, id}) and records (as `hil member show`).
    """
    from hil.vdisk import inspect

    path = image_of(image, name)
    found = inspect(path)
    if as_json:
        disks, records = [disk._asdict() for disk in found.disks], [asdict(one) for one in found.records]
        print(json.dumps({"image": str(path), **found._asdict(), "disks": disks, "records": records}, indent=2))
    else:
        print_screen(_screen(path, found))


def _screen(path: Path, found: Inspected) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("virtual disk", "bytes", "copies"):
        table.add_column(title, no_wrap=True, justify="left" if title == "virtual disk" else "right")
    table.add_column("extents (LBA+blocks)", overflow="fold")
    for disk in found.disks:
        table.add_row(Text(disk.name), str(disk.size), str(disk.copies), Text(_extents(disk)))
    lines = [Text(str(path))]
    if found.refused is not None:
        lines.append(Text(f"the tables cannot be believed: {found.refused}", style="bold red"))
    if found.pending is not None:
        lines.append(Text(f"the next node that reads the tables completes: {found.pending}", style="yellow"))
    if found.free is not None:
        lines.append(Text(f"change {found.sequence}, {found.free} bytes free", style="bold"))
    wrong = [one for one in found.records if one.why is not None]
    told = [Text(f"{one.record}, LBA {one.lba}: {one.validity}: {one.why}", style="red") for one in wrong]
    return Group(*lines, table, *told)


def _extents(disk: VirtualDisk) -> str:
    copies = [" ".join(f"{lba}+{blocks}" for lba, blocks in copy) for copy in disk.extents]
    return "; ".join(copies) + ("  at a fixed place" if disk.fixed else "")
