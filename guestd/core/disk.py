"""The stack's way to the disk: one command at a time, in the order in which they were asked for."""

from __future__ import annotations

from guestd.core.effects import ReadSectors, WriteSectors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.core.effects import Effect

    Ended = Callable[[bool, bytes], None]  # called with whether it succeeded, and what was read


class Disk:
    """A queue of commands. Each ends with exactly one call of its continuation, when its completion has come in."""

    __slots__ = ("_effects", "_queue", "_tag", "failed_count")

    def __init__(self, effects: list[Effect]) -> None:
        """effects: the list that the stack hands out; a command is appended to it when it is its turn."""
        self._effects = effects
        self._queue: list[tuple[WriteSectors | ReadSectors, Ended]] = []
        self._tag = 0
        self.failed_count = 0

    def write(self, lba: int, data: bytes, then: Ended) -> None:
        """Write, then call `then`."""
        self._tag += 1
        self._append(WriteSectors(self._tag, lba, data), then)

    def read(self, lba: int, count: int, then: Ended) -> None:
        """Read `count` blocks, then call `then`."""
        self._tag += 1
        self._append(ReadSectors(self._tag, lba, count), then)

    def done(self, tag: int, ok: bool, data: bytes = b"") -> None:
        """A completion has come in. One with a tag that is not out is ignored."""
        if not self._queue or self._queue[0][0].tag != tag:
            return
        command, then = self._queue[0]
        if isinstance(command, ReadSectors) and len(data) != command.count * 512:
            ok = False
        self.failed_count += not ok
        then(ok, data)
        self._queue.pop(0)
        if self._queue:
            self._effects.append(self._queue[0][0])

    def _append(self, command: WriteSectors | ReadSectors, then: Ended) -> None:
        self._queue.append((command, then))
        if len(self._queue) == 1:
            self._effects.append(command)
