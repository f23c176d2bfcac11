"""A shared disk in memory: sectors, reservations by the target's own state machine, and writes that are held back.

A write that is held is in the disk's queue: it outlives the node that sent it, and lands when it is let go, unless it
was aborted. A write that is refused or aborted changes nothing.
"""

from __future__ import annotations

import struct

from guestd.core.effects import ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.tasks.engine import SYNCHRONIZE_CACHE
from hil.scsi.reservations import Conflict, Identity, Request, State, change

SECTOR = 512
CONFLICT = 0x18


class ReservableDisk:
    """``execute`` for one node at a time, in the order of the disk. With ``aborts`` off, PREEMPT AND ABORT aborts
    nothing: for tests of the tests. ``broken`` nodes get no answer to what is no read or write, ``blind`` ones read
    nothing, and of ``failing`` ones nothing is written.
    """

    def __init__(self, size: int, lun: int = 0) -> None:
        self.lun = lun
        self.data = bytearray(size)
        self.state = State()
        self.aborts = True
        self.broken: set[int] = set()
        self.blind: set[int] = set()
        self.failing: set[int] = set()
        self.attentions: dict[int, int] = {}  # node -> unit attentions that it is to be told
        self.holding: set[int] = set()  # nodes whose writes are held
        self.held: list[tuple[int, WriteSectors]] = []
        self.refused: list[tuple[int, WriteSectors]] = []
        self.aborted: list[tuple[int, WriteSectors]] = []
        self.commands: list[tuple[int, str]] = []  # (node, what), all that came

    def execute(
        self, node: int, command: WriteSectors | ReadSectors | ScsiCommand
    ) -> WriteDone | ReadDone | ScsiDone | None:
        """Carry it out now. None: it is held."""
        assert command.lun == self.lun, command
        if isinstance(command, ReadSectors):
            self.commands.append((node, "read"))
            if node in self.blind:
                return ReadDone(command.tag, False, b"")
            start = command.lba * SECTOR
            return ReadDone(command.tag, True, bytes(self.data[start : start + command.count * SECTOR]))
        if isinstance(command, ScsiCommand):
            return self._scsi(node, command)
        self.commands.append((node, "write"))
        if not self.may_write(node):
            self.refused.append((node, command))
            return WriteDone(command.tag, False, conflict=True)
        if node in self.failing:
            return WriteDone(command.tag, False)
        if node in self.holding:
            self.held.append((node, command))
            return None
        return self._write(command)

    def may_write(self, node: int) -> bool:
        """Whether a write of that node is accepted now."""
        return self.state.type is None or _nexus(node) in self.state.keys

    def _write(self, command: WriteSectors) -> WriteDone:
        start = command.lba * SECTOR
        self.data[start : start + len(command.data)] = command.data
        return WriteDone(command.tag, True)

    def _scsi(self, node: int, command: ScsiCommand) -> ScsiDone:
        if node in self.broken:
            return ScsiDone(command.tag, -1)
        if self.attentions.get(node):
            self.attentions[node] -= 1
            return ScsiDone(command.tag, 0x02, sense_key=0x6)
        status, reply = self._reserve(node, command)
        return ScsiDone(command.tag, status, reply)

    def let_go(self, node: int) -> list[tuple[WriteSectors, WriteDone]]:
        """The held writes of a node land, in their order."""
        self.holding.discard(node)
        ours = [command for holder, command in self.held if holder == node]
        self.held = [(holder, command) for holder, command in self.held if holder != node]
        return [(command, self._write(command)) for command in ours]

    def keys(self) -> list[int]:
        return sorted(self.state.keys.values())

    def _reserve(self, node: int, command: ScsiCommand) -> tuple[int, bytes]:
        action = command.cdb[1] & 0x1F
        if command.cdb == SYNCHRONIZE_CACHE:
            return 0, b""
        if command.cdb[0] == 0x5E:
            assert action == 0, "READ KEYS is all that is asked"
            self.commands.append((node, "read-keys"))
            keys = list(self.state.keys.values())
            return 0, struct.pack(f">II{len(keys)}Q", self.state.generation, 8 * len(keys), *keys)
        self.commands.append((node, f"reserve-out-{action}"))
        key, action_key, flags = struct.unpack(">QQ4xB3x", command.data)
        request = Request(_nexus(node), key, action_key, command.cdb[2], aptpl=bool(flags & 1))
        try:
            done = change(self.state, action, request)
        except Conflict:
            return CONFLICT, b""
        self.state = done.state
        if self.aborts:
            victims = {other for other, _ in self.held if _nexus(other) in done.aborted}
            self.aborted += [entry for entry in self.held if entry[0] in victims]
            self.held = [entry for entry in self.held if entry[0] not in victims]
        return 0, b""


def _nexus(node: int) -> Identity:
    return f"n{node}", "0"
