"""The cluster in memory in which something happens at an exactly counted moment of one node, such as its end.

A moment is one of a node's effects: a write or a SCSI command before it reaches the disk, the same one when it has but
the node does not know yet, a datagram before it is sent, and after it has come to one other node only. Nothing a node
does is seen by others in between, so these are all the moments there are; notifications of its own subsystems lie
between two of them.
"""

from __future__ import annotations

from collections.abc import Callable

from guestd.core.effects import Effect, ReadSectors, ScsiCommand, WriteSectors
from tests.unit.guestd_slow import Delay, SlowWorld


class MortalWorld(SlowWorld):
    """The laboratory; `at_moment` chooses what happens and when."""

    def __init__(self, nodes: int, seed: int, delay_ms: Delay, *, election: str = "paxos") -> None:
        super().__init__(nodes, seed, delay_ms, election=election)
        self.moments: list[str] = []  # of the watched node that have passed
        self._watched: int | None = None
        self._at = 0
        self._action: Callable[[], None] = lambda: None

    def at_moment(self, node: int, at: int, action: Callable[[], None]) -> None:
        """Do that at the moment number `at` of that node from now on, counted from 0."""
        self._watched, self._at, self._action = node, at, action
        self.moments = []

    def doom(self, node: int, at: int) -> None:
        """Let that node die at that moment of its own."""
        self.at_moment(node, at, lambda: self.power_off(node))

    def _moment(self, node: int, what: str) -> bool:
        """Whether the node is dead by now."""
        if node == self._watched:
            self.moments.append(what)
            if len(self.moments) - 1 == self._at:
                self._action()
        return self.machines[node].stack is None

    def _disk(self, node: int, life: int, effect: WriteSectors | ReadSectors | ScsiCommand) -> None:
        alive = self.machines[node].life == life and self.machines[node].stack is not None
        if alive and not isinstance(effect, ReadSectors):
            if isinstance(effect, WriteSectors):
                what = f"the write of LBA {effect.lba}"
            else:
                what = f"the command {effect.cdb[:2].hex()}"
            if self._moment(node, f"before {what}"):
                return
            if node == self._watched and len(self.moments) == self._at:
                if isinstance(effect, WriteSectors):
                    self._check_write(node, effect)
                self.device.execute(node, effect)
            if self._moment(node, f"after {what}"):
                return
        super()._disk(node, life, effect)

    def _send(self, node: int, payload: bytes) -> None:
        if self._moment(node, "before a datagram"):
            return
        if node == self._watched and len(self.moments) == self._at:
            self._send_to_one(node, payload)
        if not self._moment(node, "after a datagram to one node"):
            super()._send(node, payload)

    def _tell(self, node: int, to: int, payload: bytes) -> None:
        if not self._moment(node, "before a datagram for one node"):
            super()._tell(node, to, payload)

    def _send_to_one(self, node: int, payload: bytes) -> None:
        others = [other for other, machine in enumerate(self.machines) if other != node and machine.running]
        for other in others[-1:]:
            self.after(1, self._delivery(other, self.machines[other].life, payload))

    def _carry_out(self, node: int, life: int, effect: Effect) -> None:
        if self.machines[node].life == life and self.machines[node].stack is None and node == self._watched:
            return  # it died in the middle of its effects
        super()._carry_out(node, life, effect)
