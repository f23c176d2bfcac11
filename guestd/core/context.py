"""What all parts of one stack share: who it is, what time it is, and where effects go."""

from __future__ import annotations

from guestd.core.config import check
from guestd.core.disk import DATA, Disk, lane_of, membership_lanes
from guestd.core.effects import Broadcast, Emit, Send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.core.config import Config
    from guestd.core.disk import Done
    from guestd.core.effects import Effect


class Context:
    """One per stack."""

    __slots__ = ("_lanes", "config", "data", "disk", "disks", "effects", "node", "now_ms")

    def __init__(self, config: Config, node: int) -> None:
        """Raises ValueError for a node or a configuration that cannot be."""
        check(config)
        if not 0 <= node < config.nodes:
            raise ValueError(f"node {node} (legal: 0 to {config.nodes - 1})")
        self.config = config
        self.node = node
        self.now_ms = 0  # of the input that is being handled
        self.effects: list[Effect] = []
        self.disks = [Disk(self.effects, lane) for lane in membership_lanes(config.data_disks)]  # by LUN
        self.disk = self.disks[0]  # the membership's lane
        self.data = Disk(self.effects, DATA)  # that of the levels above it
        self._lanes = {2 * disk.lun: disk for disk in self.disks} | {DATA: self.data}

    def emit(self, kind: str, **fields: Any) -> None:
        """Tell the host."""
        self.effects.append(Emit(kind, fields))

    def broadcast(self, payload: bytes) -> None:
        """Tell all nodes."""
        self.effects.append(Broadcast(payload))

    def send(self, node: int, payload: bytes) -> None:
        """Tell one node."""
        self.effects.append(Send(node, payload))

    def disk_done(self, done: Done) -> None:
        """A disk command has ended."""
        lane = self._lanes.get(lane_of(done.tag))
        if lane is not None:
            lane.done(done)

    def take_effects(self) -> list[Effect]:
        """Everything asked for since the last call."""
        taken = self.effects.copy()
        self.effects.clear()
        return taken
