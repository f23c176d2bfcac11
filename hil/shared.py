"""What a test asks of its cluster, and the checkpoints that tests of one session share (used by ``hil.plugin``)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hil import checkpoint
from hil.lab import make_test_config

if TYPE_CHECKING:
    from hil.config import ClusterConfig
    from hil.scenario import ScenarioCluster

MARKER = (
    "cluster(nodes=3, joined=True, cold=False, checkpoint=False, timing={...}, ...): this test's cluster: the keys of a"
    " cluster file; whether the test begins when all nodes have joined; whether every node really boots; whether"
    " all tests of this session with the same keys go on from one checkpoint (or the function that prepares it)"
)

Prepare = Callable[["ScenarioCluster"], object]


@dataclass(frozen=True)
class Wanted:
    """What the marker of one test says."""

    config: ClusterConfig
    joined: bool
    cold: bool
    checkpoint: bool | Prepare

    @classmethod
    def of(cls, item: pytest.Item, name: str) -> Wanted:
        """For the cluster ``name``. Raises :class:`hil.errors.BadConfig`, and ``UsageError`` of pytest."""
        marker = item.get_closest_marker("cluster")
        if marker is not None and marker.args:
            raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.cluster takes keywords only: {MARKER}")
        values = dict(marker.kwargs) if marker is not None else {}
        joined, cold = bool(values.pop("joined", True)), bool(values.pop("cold", False))
        saved = values.pop("checkpoint", False)
        if saved and not joined:
            raise pytest.UsageError(f"{item.nodeid}: a shared checkpoint is of joined nodes, so not joined=False")
        values |= {"capture": True} if item.config.getoption("hil_capture") else {}
        return cls(make_test_config(name, values, item.config.getoption("hil_nodes")), joined, cold, saved)

    @property
    def key(self) -> tuple[str, object]:
        """Tests with the same key can go on from the same checkpoint."""
        values = self.config.model_dump() | {"name": None, "cold": self.cold}
        return json.dumps(values, sort_keys=True), self.checkpoint


class SharedCheckpoints:
    """Made by the first test that asks for one, used by all others, removed with the session."""

    def __init__(self) -> None:
        self._home = checkpoint.directory() / f".session-{os.getpid()}"
        self._saved: dict[tuple[str, object], Path] = {}

    def start(self, wanted: Wanted, start: Callable[..., ScenarioCluster]) -> ScenarioCluster:
        """The cluster: from the checkpoint if it is there, else by ``start``."""
        saved = self._saved.get(wanted.key) if wanted.checkpoint else None
        if saved is None:
            return start(wanted.config, cold=True) if wanted.cold else start(wanted.config)
        from hil.scenario import ScenarioCluster

        return ScenarioCluster.restored(saved, wanted.config.name)

    def save(self, wanted: Wanted, cluster: ScenarioCluster) -> None:
        """Prepare the first cluster that is to be shared, and save it; nothing for all others."""
        if not wanted.checkpoint or wanted.key in self._saved:
            return
        self._remove_left_over()
        if callable(wanted.checkpoint):
            wanted.checkpoint(cluster)
        self._saved[wanted.key] = cluster.checkpoint(self._home / f"shared{len(self._saved)}")

    def _remove_left_over(self) -> None:
        """Of sessions that were killed."""
        for home in self._home.parent.glob(".session-*"):
            if not Path("/proc", home.name.rpartition("-")[2]).exists():
                shutil.rmtree(home, ignore_errors=True)

    def remove(self) -> None:
        """All of them."""
        shutil.rmtree(self._home, ignore_errors=True)
