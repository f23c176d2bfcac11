"""``hil up``, ``hil down``, ``hil list``: clusters come and go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.options import AsJson, Backend, BackendOption, Capture, Nodes, check_backend

if TYPE_CHECKING:
    from hil.config import ClusterConfig


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("list")(list_)


def up(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Cluster file (TOML); options win over it.")
    ] = None,
    nodes: Nodes = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The cluster's name; default: the file's, or demo.")
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Boot every node; use and make no saved machines.")] = False,
    keep_data: Annotated[
        bool, typer.Option("--keep-data", help="Keep all that is written to the disk: `hil disk at` can go back.")
    ] = False,
    capture: Capture = False,
    backend: BackendOption = Backend.QEMU,
) -> None:
    """Start a cluster and wait until all nodes have joined.

    If they do not, the cluster is taken down again; what it left for inspection is named.
    """
    from hil.cli.lines import slowness
    from hil.cli.progress import JoinProgress
    from hil.client import Cluster
    from hil.room import crowding

    check_backend(backend)
    config = _config(file, nodes, name, keep_data=keep_data or None, capture=capture or None)
    with JoinProgress(config.name) as progress:
        if (crowded := crowding(config)) is not None:
            progress.say(crowded)
        cluster = Cluster.up(config, cold=cold, on_event=progress.on_event, on_image=progress.on_image)
        try:
            if (notice := slowness(cluster.settings["settings"])) is not None:
                progress.say(notice)
            cluster.wait_joined()
        except BaseException:
            progress.say(f"not all nodes joined: taking cluster {cluster.name} down; evidence: {cluster.run_dir}")
            cluster.down()
            raise
        view = cluster.view
        cluster.close()
    print(f"cluster {cluster.name} is up: {len(cluster.nodes)} nodes joined, epoch {view.epoch}, master {view.master}")


def _config(file: Path | None, nodes: int | None, name: str | None, **others: bool | None) -> ClusterConfig:
    from hil.config import load_config, make_config

    chosen: dict[str, Any] = {"nodes": nodes, "name": name} | others
    overrides = {key: value for key, value in chosen.items() if value is not None}
    return load_config(file, **overrides) if file is not None else make_config(**overrides)


def down(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The cluster; default: the only one.")] = None,
    name_option: Annotated[str | None, typer.Option("--name", metavar="NAME", help="The same.")] = None,
) -> None:
    """Take a cluster down: its machines, disk and networks are gone; the evidence stays. Twice is fine."""
    from hil.bench.address import running_clusters
    from hil.client import Cluster
    from hil.errors import UsageError

    if name and name_option and name != name_option:
        raise UsageError(f"down {name} --name {name_option}: these are two names")
    wanted = name or name_option
    running = running_clusters()
    if (wanted is None and not running) or (wanted is not None and wanted not in running):
        print(f"cluster {wanted} is not running" if wanted else "no cluster is running")
        return
    with Cluster.connect(wanted) as cluster:
        cluster.down()
    print(f"cluster {cluster.name} is down; evidence: {cluster.run_dir}")


def list_(as_json: AsJson = False) -> None:
    """List the running clusters of this user.

    With --json: a list of the names, sorted.
    """
    from hil.bench.address import running_clusters

    running = running_clusters()
    if as_json:
        print(json.dumps(running))
        return
    for name in running:
        print(name)
    if not running:
        typer.echo("no cluster is running; `hil up` starts one", err=True)
