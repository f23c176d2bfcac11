"""Which disk image a verb is about, and how its table is shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.errors import UnknownCluster, UsageError
from hil.evidence.layout import DISK

if TYPE_CHECKING:
    from rich.console import RenderableType

Image = Annotated[
    Path | None,
    typer.Argument(metavar="[IMAGE]", help="A disk's image, or the directory of a run, instead of a cluster."),
]


def image_of(image: Path | None, name: str | None) -> Path:
    """A disk's image or the directory of a run, or the disk of a cluster. Raises :class:`UsageError`."""
    from hil import paths
    from hil.bench.address import running_clusters

    if image is not None:
        if name is not None:
            raise UsageError("IMAGE and --name: a disk's image, or a cluster's disk")
        return image / DISK if image.is_dir() else image
    if name is not None and name not in running_clusters():
        latest = paths.latest_run_dir(name)
        if latest is None:
            raise UnknownCluster(f"no cluster {name!r} runs, and no run of that name is kept")
        return latest / DISK
    from hil.client import Cluster

    with Cluster.connect(name) as cluster:
        return cluster.run_dir / DISK


def print_screen(screen: RenderableType) -> None:
    """Without a terminal nothing is cut to its width."""
    from rich.console import Console

    # Without a terminal nothing is cut to a width: the table is as wide as its text.
    output = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=400)
    with output.capture() as captured:
        output.print(screen)
    for line in captured.get().splitlines():
        print(line.rstrip())
