"""What the launcher wants of a bench, as it stands in ``cluster.json``.

Plain data: pydantic, which checked it before it was written, takes a good part of a warm start to import.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.checkpoint import Checkpoint, load
from hil.evidence import layout


@dataclass(frozen=True)
class Order:
    """The cluster file's content, what the host offers, and where evidence goes."""

    config: dict[str, Any]
    """Of ``hil.config.ClusterConfig``."""
    accelerator: str
    image: Path
    image_digest: str
    run_dir: Path
    cluster_id: str
    cold: bool
    """Boot all nodes; no saved machines."""
    timing: dict[str, int]
    """Of ``guestd``, as they are on this machine."""
    timing_factor: float
    checkpoint: Checkpoint | None
    """What the cluster goes on from; None: it is new."""

    @property
    def name(self) -> str:
        """The cluster's."""
        return str(self.config["name"])

    @property
    def nodes(self) -> int:
        """How many."""
        return int(self.config["nodes"])


def read_order(run_dir: Path) -> Order:
    """The one that was written into ``run_dir``."""
    data: dict[str, Any] = json.loads((run_dir / layout.CLUSTER).read_text(encoding="utf-8"))
    settings = data["settings"]
    saved = load(Path(settings["checkpoint"]), verify=False) if settings.get("checkpoint") else None
    return Order(
        config=data["config"],
        accelerator=settings["accelerator"],
        image=Path(settings["image"]),
        image_digest=settings.get("image_digest", ""),
        cold=settings.get("cold", True),
        timing=settings["timing"],
        timing_factor=settings["timing_factor"],
        run_dir=run_dir,
        cluster_id=saved.manifest.cluster_id if saved else uuid.uuid4().hex,
        checkpoint=saved,
    )
