"""``hil checkpoint``: a whole living cluster is saved, and goes on from there as often as one likes."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hil.cli.options import AsJson, Name

CheckpointName = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="The checkpoint's name.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    group = typer.Typer(help="Save a whole living cluster, and go on from there.", no_args_is_help=True)
    group.command("save")(save)
    group.command("restore")(restore)
    group.command("list")(list_)
    group.command("remove")(remove)
    app.add_typer(group, name="checkpoint")


def save(
    checkpoint: CheckpointName,
    name: Name = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace one of that name.")] = False,
) -> None:
    """Save memory and devices of all nodes, the shared disk and all that is known of them; the cluster goes on.

    Faults must be healed, and nodes run or be off.
    """
    from hil.client import Cluster

    with Cluster.connect(name) as cluster:
        path = cluster.checkpoint(checkpoint, replace=replace)
        told = next(event for event in reversed(list(cluster.events())) if event["kind"] == "checkpoint-saved")
    print(
        f"checkpoint {checkpoint} of cluster {cluster.name}: {told['bytes'] / 1e6:.0f} MB in {told['seconds']:.1f} s,"
        f" the nodes stood for {told['stopped_s']:.1f} s; {path}"
    )


def restore(
    checkpoint: CheckpointName,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The cluster's name; default: the one it had.")
    ] = None,
) -> None:
    """Have a cluster go on from a checkpoint. One that runs under its name is taken down first."""
    import time

    from hil import checkpoint as checkpoints
    from hil.bench.address import running_clusters
    from hil.client import Cluster

    started = time.monotonic()
    saved = checkpoints.load(checkpoints.place(checkpoint), verify=False)
    wanted = name or str(saved.manifest.config["name"])
    if wanted in running_clusters():
        cluster = Cluster.connect(wanted)
        cluster.restore(checkpoint)
    else:
        cluster = Cluster.restored(checkpoint, wanted)
    view = cluster.view
    cluster.close()
    took_s = time.monotonic() - started
    print(
        f"cluster {wanted} goes on from checkpoint {checkpoint} ({took_s:.1f} s): epoch {view.epoch},"
        f" master {view.master}, joined {', '.join(map(str, view.newest.joined())) or 'none'}"
    )


def list_(as_json: AsJson = False) -> None:
    """List the checkpoints.

    With --json: a list of {"name", "cluster", "nodes", "on", "epoch", "members", "image", "created", "bytes", "path"}.
    """
    from hil import checkpoint as checkpoints

    found = checkpoints.everything()
    if as_json:
        rows = [
            {
                "name": one.name,
                "cluster": one.manifest.config["name"],
                "nodes": one.manifest.config["nodes"],
                "on": one.on,
                "epoch": one.manifest.epoch,
                "members": one.manifest.members,
                "image": one.manifest.image,
                "created": one.manifest.created,
                "bytes": one.size,
                "path": str(one.path),
            }
            for one in found
        ]
        print(json.dumps(rows, indent=2))
        return
    for one in found:
        about = one.manifest
        print(
            f"{one.name:<20} {one.size / 1e6:6.0f} MB  {about.created}  cluster {about.config['name']},"
            f" {about.config['nodes']} nodes, epoch {about.epoch}, image {about.image[:12]}"
        )
    for name in checkpoints.broken():
        typer.echo(f"{name} is damaged or was never completed; `hil checkpoint remove {name}`", err=True)
    if not found:
        typer.echo("no checkpoint; `hil checkpoint save NAME` makes one of a running cluster", err=True)


def remove(checkpoint: CheckpointName) -> None:
    """Remove a checkpoint, whole or not."""
    from hil import checkpoint as checkpoints

    checkpoints.remove(checkpoints.place(checkpoint))
    print(f"checkpoint {checkpoint} is gone")
