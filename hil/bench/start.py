"""From a cluster's configuration to a running bench: preflight, image, accelerator, launch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import images
from hil import preflight
from hil.bench import address
from hil.bench.launch import launch
from hil.checkpoint import Checkpoint
from hil.config import ClusterConfig
from hil.errors import AlreadyUp, BadConfig, LaboratoryError, UsageError
from hil.machine import accelerator
from hil.timing import timing_factor


def start(
    config: ClusterConfig, on_image: Callable[[str, int, int], None] | None = None, *, cold: bool = False
) -> Path:
    """Start the bench of ``config``; its run directory. ``cold``: every node boots, no saved machine is used or made.

    What is certain to be refused is refused first: a name that is taken, a host that lacks something.
    """
    image = _image_for(config, on_image)
    chosen = accelerator(image) if config.accelerator == "auto" else None
    kind = chosen.kind if chosen else config.accelerator
    settings: dict[str, object] = {
        "accelerator": kind,
        "why": chosen.why if chosen else "asked for in the cluster file",
        "image": str(image.path),
        "image_digest": image.digest,
        "cold": cold,
        **timing_settings(config, kind),
    }
    return launch(config, settings)


def restore(
    saved: Checkpoint, name: str | None = None, on_image: Callable[[str, int, int], None] | None = None
) -> tuple[Path, ClusterConfig]:
    """Start the bench of a cluster that goes on from ``saved``, under ``name`` (None: the one it had).

    Its run directory and configuration. Raises ``UsageError`` for a checkpoint of another image.
    """
    config = saved.config(name or saved.manifest.config["name"])
    image = _image_for(config, on_image)
    if (why := saved.why_of_no_use(image.digest)) is not None:
        raise UsageError(why)
    settings: dict[str, object] = {
        "accelerator": saved.manifest.accelerator,
        "why": f"checkpoint {saved.name} was saved so",
        "image": str(image.path),
        "image_digest": image.digest,
        "cold": True,
        "checkpoint": str(saved.path),
        **timing_settings(config, saved.manifest.accelerator),
    }
    return launch(config, settings), config


def timing_settings(config: ClusterConfig, kind: str) -> dict[str, object]:
    """The times of the cluster as they are on this machine, and the factor; raises ``BadConfig`` if they cannot be."""
    factor = timing_factor(kind, config.nodes)
    try:
        return {"timing_factor": factor, "timing": config.timing.resolved(factor)}
    except ValueError as refusal:
        raise BadConfig(
            f"cluster {config.name!r}: {refusal}\n  Where the cluster file says nothing, the defaults count, times"
            f" {factor:g} on this machine ({kind}): give those, too (docs/timing.md)"
        ) from None


def _image_for(config: ClusterConfig, on_image: Callable[[str, int, int], None] | None) -> images.Image:
    if config.name in address.running_clusters():
        raise AlreadyUp(
            f"cluster {config.name!r} is already up; `hil down {config.name}` ends it,"
            " `hil up --name OTHER` starts another"
        )
    preflight.check(config)
    try:
        return images.ensure(progress=on_image)
    except images.BuildError as error:
        raise LaboratoryError(str(error)) from error
