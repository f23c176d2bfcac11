"""``hil fsck``: the shared file system on the disk of a cluster, running or finished, or in an image."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hil.cli.disk_image import Image, image_of
from hil.cli.options import AsJson, Name

DiskName = Annotated[str, typer.Option("--disk", metavar="DISK", help="The virtual disk that the file system is on.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("fsck")(check)


def check(image: Image = None, name: Name = None, disk: DiskName = "shared", as_json: AsJson = False) -> int:
    """Look the shared file system over and name every inconsistency. Reads only; exit status 1 if something is wrong.

    With --name also of a cluster that is down: of its last run. The image may be in use: a journal of a node that runs,
    or that has died, is a note and no fault. Of a mirrored virtual disk each copy is checked, and the two are compared.
    `guestctl fsck` on a node does the same with the disk as the node sees it.

    With --json: one object with the keys image, disk, copies, blocks (of 4096 bytes), wrong and notes (lists of
    sentences).
    """
    from guestd.sfs import examine
    from hil.sfs import examined

    path = image_of(image, name)
    found = examined(path, disk)
    if as_json:
        print(json.dumps({"image": str(path), **examine.as_json(found)}, indent=2))
    else:
        for line in (str(path), *examine.lines(found)):
            print(line)
    return 1 if found.wrong else 0
