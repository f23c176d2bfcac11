"""Verbs about this host: ``doctor`` and ``image``."""

from __future__ import annotations

import datetime
import json
import time
from typing import Annotated, Any

import typer

from hil.cli.options import AsJson


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to ``app``."""
    app.command("doctor")(doctor)
    image = typer.Typer(help="The guest image that all nodes boot.", no_args_is_help=True)
    image.command("build")(image_build)
    image.command("list")(image_list)
    app.add_typer(image, name="image")


def doctor(as_json: AsJson = False) -> None:
    """Say what this host lacks, each with what to type. Exit status 2 if a cluster cannot start here.

    With --json: {"ok": bool, "findings": [{"check", "grade", "text", "remedy"}, ...]}; grade is ok, notice or problem.
    """
    from hil import doctor as checks

    found = checks.findings()
    if as_json:
        print(checks.as_json(found))
    else:
        checks.show(found)
    raise typer.Exit(checks.exit_status(found))


def image_build(
    force: Annotated[bool, typer.Option("--force", help="Build it also if the cache has it.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask Debian for newer packages first.")] = False,
) -> None:
    """Build the guest image from Debian packages, unless it is there already. Needs no root."""
    import images
    from hil.cli.progress import ImageProgress
    from hil.errors import LaboratoryError

    started = time.monotonic()
    try:
        with ImageProgress() as progress:
            image = images.build(progress=progress.on_image, force=force, refresh=refresh)
    except images.BuildError as error:
        raise LaboratoryError(str(error)) from error
    print(f"image {image.digest[:12]}: {image.size / 1e6:.0f} MB in {image.path} ({time.monotonic() - started:.1f} s)")


def image_list(
    as_json: AsJson = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="First remove saved machines without an image, or not used for two weeks."),
    ] = False,
) -> None:
    """List the guest images in the cache, newest first, and the machines that were saved of each, for warm starts.

    With --json: a list of {"digest", "path", "size" (bytes), "created" (ISO 8601), "kernel" (release), "saved": a list
    of {"node", "size", "used", "path"}}; an image that is gone has null for what only it could tell.
    """
    import images
    from hil import warm

    found = images.list_images()
    removed = warm.prune({image.digest for image in found}) if prune else []
    saved = _saved_by_image()
    rows: list[dict[str, Any]] = [
        {
            "digest": image.digest,
            "path": str(image.path),
            "size": image.size,
            "created": image.created.isoformat(),
            "kernel": image.manifest.get("release"),
            "saved": saved.pop(image.digest, []),
        }
        for image in found
    ]
    gone = dict.fromkeys(("path", "size", "created", "kernel"))
    rows += [{"digest": digest, **gone, "saved": machines} for digest, machines in saved.items()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for image, row in zip(found, rows, strict=False):
        created = image.created.astimezone().strftime("%Y-%m-%d %H:%M")
        release = image.manifest.get("release", "?")
        print(f"{image.digest[:12]}  {image.size / 1e6:6.0f} MB  {created}  kernel {release}{_told(row['saved'])}")
    for row in rows[len(found) :]:
        print(f"{row['digest'][:12]}  the image is gone{_told(row['saved'])}; `hil image list --prune` removes them")
    if removed:
        size = sum(entry.size for entry in removed)
        typer.echo(f"removed {len(removed)} saved machines, {size / 1e6:.0f} MB", err=True)
    if not found:
        typer.echo("no image yet; `hil image build` makes one, and so does `hil up`", err=True)


def _saved_by_image() -> dict[str, list[dict[str, Any]]]:
    from hil import warm

    found: dict[str, list[dict[str, Any]]] = {}
    for entry in warm.entries():
        used = datetime.datetime.fromtimestamp(entry.used, datetime.UTC).isoformat(timespec="seconds")
        row = {"node": entry.node, "size": entry.size, "used": used, "path": str(entry.path)}
        found.setdefault(entry.image, []).append(row)
    return found


def _told(saved: list[dict[str, Any]]) -> str:
    """Of the machines of one image."""
    if not saved:
        return ""
    return f"; {len(saved)} saved machines, {sum(machine['size'] for machine in saved) / 1e6:.0f} MB"
