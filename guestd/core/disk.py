"""The stack's ways to the disks, its lanes: in each one command at a time, in the order in which they were asked for.

Every disk has two. What the membership asks for never waits behind what the levels above it do, nor behind a disk that
does not answer while LUN 0 does.
"""

from __future__ import annotations

from guestd.core.config import DATA_DISKS_MAX
from guestd.core.effects import ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.core.effects import Effect

    Command = WriteSectors | ReadSectors | ScsiCommand
    Done = WriteDone | ReadDone | ScsiDone
    Written = Callable[[bool], None]  # called with whether it succeeded
    HaveRead = Callable[[bool, bytes], None]  # the same, and what was read
    ScsiEnded = Callable[[int, bytes, int], None]  # called with status, data and sense key, as in ScsiDone

SECTOR_SIZE = 512
MEMBERSHIP, DATA = 0, 1  # the lanes of LUN 0; those of LUN n are 2 n further on
LANES: int = 2 * (1 + DATA_DISKS_MAX)


def lane_of(tag: int) -> int:
    """In which lane the command with that tag is."""
    return tag % LANES


def membership_lanes(data_disks: int) -> list[int]:
    """Of LUN 0, 1 …"""
    return [2 * lun + MEMBERSHIP for lun in range(1 + data_disks)]


class Disk:
    """A queue of commands. Each ends with exactly one call of its continuation, when its completion has come in."""

    __slots__ = ("_effects", "_queue", "_tag", "conflict", "failed_count", "lun")

    def __init__(self, effects: list[Effect], lane: int = MEMBERSHIP) -> None:
        """effects: the list that the stack hands out; a command is appended to it when it is its turn."""
        self._effects = effects
        # Each command with its continuation, which is of the type that goes with it.
        self._queue: list[tuple[Command, Any]] = []
        self._tag = lane
        self.lun: int = lane // 2
        self.failed_count = 0
        self.conflict = False  # a write was refused: this node was fenced (spec S6.4)

    def write(self, lba: int, data: bytes, then: Written, *, durable: bool) -> None:
        """Write, then call `then`; durable: as in WriteSectors."""
        self._append(WriteSectors(self._next_tag(), lba, data, durable, self.lun), then)

    def read(self, lba: int, count: int, then: HaveRead) -> None:
        """Read `count` blocks, then call `then`."""
        self._append(ReadSectors(self._next_tag(), lba, count, self.lun), then)

    def scsi(self, cdb: bytes, data: bytes, reply_size: int, then: ScsiEnded) -> None:
        """Send a SCSI command, then call `then`."""
        self._append(ScsiCommand(self._next_tag(), cdb, data, reply_size, self.lun), then)

    def done(self, done: Done) -> None:
        """A completion has come in. One with a tag that is not out is ignored."""
        if not self._queue:
            return
        command, then = self._queue[0]
        if command.tag != done.tag:
            return
        if isinstance(command, WriteSectors):
            self._written(done, then)
        elif isinstance(command, ReadSectors):
            self._have_read(done, command.count * SECTOR_SIZE, then)
        else:
            assert isinstance(done, ScsiDone), done
            then(done.status, done.data, done.sense_key)
        self._queue.pop(0)
        if self._queue:
            self._effects.append(self._queue[0][0])

    def _written(self, done: Done, then: Written) -> None:
        assert isinstance(done, WriteDone), done
        self.failed_count += not done.ok
        self.conflict |= done.conflict
        then(done.ok)

    def _have_read(self, done: Done, size: int, then: HaveRead) -> None:
        assert isinstance(done, ReadDone), done
        ok = done.ok and len(done.data) == size
        self.failed_count += not ok
        then(ok, done.data)

    def _next_tag(self) -> int:
        self._tag += LANES
        return self._tag

    def _append(self, command: Command, then: Any) -> None:
        self._queue.append((command, then))
        if len(self._queue) == 1:
            self._effects.append(command)
