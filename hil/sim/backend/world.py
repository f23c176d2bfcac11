"""The world of a scenario: nobody does harm in it but the scenario, and a bench listens to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from guestd.core.config import Config
from hil.checkers.checker import Checker
from hil.evidence import layout
from hil.sim.backend.disk import TargetDisk
from hil.sim.backend.network import CapturedNetwork
from hil.sim.network import Network
from hil.sim.nodes import Node
from hil.sim.options import Options
from hil.sim.world import World


class ScenarioWorld(World):
    """Its disk is the real target. ``on_event`` and ``on_end`` hear of a node before the checkers do."""

    def __init__(
        self,
        options: Options,
        config: Config,
        run_dir: Path,
        disk_mib: int,
        shared_mib: int | None,
        *,
        keep_data: bool,
        capture: bool,
        checkers: Sequence[Checker],
    ) -> None:
        """Of machines: when they boot, when the hypervisor reports."""
        self._run_dir = run_dir
        self._disk_mib = disk_mib
        self._shared_mib = shared_mib
        self._keep_data = keep_data
        self._capture = capture
        super().__init__(options, checkers, config=config)
        self.operator_boots = False
        self.event_managers.wanted = shared_mib != 0  # as on guests; the services are the scenario's
        self.on_event: Callable[[Node, str, dict[str, Any]], None] = lambda _node, _kind, _fields: None
        self.on_end: Callable[[Node], None] = lambda _node: None
        self.target_disk.on_data_landed = self._landed_on_data
        self.target_disk.on_data_removed = self._removed_from_data

    def make_disk(self, randomness: random.Random) -> TargetDisk:
        """In the directory of the run."""
        self.target_disk = TargetDisk(
            self, randomness, self._run_dir, self._disk_mib, self._shared_mib, keep_data=self._keep_data
        )
        return self.target_disk

    def make_network(self, randomness: random.Random) -> Network:
        """What it carries is captured in the directory of the run, where that was asked for."""
        if not self._capture:
            return super().make_network(randomness)
        return CapturedNetwork(self.queue, randomness, self.options, self.trace, self._run_dir / layout.CAPTURE)

    def booted(self, node: Node) -> None:
        """A new life has begun; of a machine that the world's own operator has switched on, too."""
        path = self.target_disk.paths[node.number]
        if not path.on:
            path.power_on()
        super().booted(node)

    def stop_checking(self) -> None:
        """The checkers hear no more: the disk is told to lie, and what they claim rests on its word."""
        self.checkers.clear()
        for listeners in (self._of_writes, self._of_data_writes, self._of_what_is_told):
            listeners.clear()
        self._of_events.clear()
        self.trace.tell(None, "the disk may lie: no more checks")

    def emitted(self, node: Node, kind: str, fields: dict[str, Any]) -> None:
        """An event of a node."""
        if kind == "incarnation":  # the only word of it where the disk's fence is not used
            node.incarnation = fields["incarnation"]
        self.on_event(node, kind, fields)
        super().emitted(node, kind, fields)

    def ended(self, node: Node) -> None:
        """It has panicked, or guestd has exited."""
        self.on_end(node)
        super().ended(node)
