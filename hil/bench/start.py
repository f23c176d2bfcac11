"""From a cluster's configuration to a running bench: preflight, image, accelerator, launch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import images
from hil import preflight
from hil.bench import address
from hil.bench.launch import launch
from hil.config import ClusterConfig
from hil.errors import AlreadyUp, LaboratoryError
from hil.machine import accelerator


def start(
    config: ClusterConfig, on_image: Callable[[str, int, int], None] | None = None, *, cold: bool = False
) -> Path:
    """Start the bench of ``config``; its run directory. ``cold``: every node boots, no saved machine is used or made.

    What is certain to be refused is refused first: a name that is taken, a host that lacks something.
    """
    if config.name in address.running_clusters():
        raise AlreadyUp(
            f"cluster {config.name!r} is already up; `hil down {config.name}` ends it,"
            " `hil up --name OTHER` starts another"
        )
    preflight.check(config)
    try:
        image = images.ensure(progress=on_image)
    except images.BuildError as error:
        raise LaboratoryError(str(error)) from error
    chosen = accelerator(image) if config.accelerator == "auto" else None
    settings: dict[str, object] = {
        "accelerator": chosen.kind if chosen else config.accelerator,
        "why": chosen.why if chosen else "asked for in the cluster file",
        "image": str(image.path),
        "image_digest": image.digest,
        "cold": cold,
    }
    return launch(config, settings)
