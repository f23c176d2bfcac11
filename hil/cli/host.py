"""Verbs about this host: ``doctor`` and ``image``."""

from __future__ import annotations

import json
import time
from typing import Annotated

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


def image_list(as_json: AsJson = False) -> None:
    """List the guest images in the cache, newest first.

    With --json: a list of {"digest", "path", "size" (bytes), "created" (ISO 8601), "kernel" (release)}.
    """
    import images

    found = images.list_images()
    if as_json:
        rows = [
            {
                "digest": image.digest,
                "path": str(image.path),
                "size": image.size,
                "created": image.created.isoformat(),
                "kernel": image.manifest.get("release"),
            }
            for image in found
        ]
        print(json.dumps(rows, indent=2))
        return
    for image in found:
        created = image.created.astimezone().strftime("%Y-%m-%d %H:%M")
        release = image.manifest.get("release", "?")
        print(f"{image.digest[:12]}  {image.size / 1e6:6.0f} MB  {created}  kernel {release}")
    if not found:
        typer.echo("no image yet; `hil image build` makes one, and so does `hil up`", err=True)
