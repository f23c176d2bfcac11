"""A volume whose commands are tried again for a while: the disk may be away for less than it takes to be forced out."""

from __future__ import annotations

from guestd.tasks.steps import DiskError
from guestd.vdm.volume import Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.tasks.steps import Signal, Task


class PersistentVolume(Volume):
    """In front of another volume. A write that failed may have been done: once more does no harm."""

    __slots__ = ("_next", "_now", "_patience_ms", "_volume")

    def __init__(
        self, volume: Volume, now: Callable[[], int], following: Callable[[], Signal], patience_ms: int
    ) -> None:
        """now: ms. following: fired at the next tick. patience_ms: after which a command that keeps failing fails."""
        super().__init__(0, volume.blocks)
        self._volume = volume
        self._now = now
        self._next = following
        self._patience_ms = patience_ms

    def read(self, block: int, count: int) -> Task[bytes]:
        """As `Volume.read`."""
        data: bytes = yield from self._insist(lambda: self._volume.read(block, count))
        return data

    def write(self, block: int, data: bytes, *, durable: bool = False) -> Task[None]:
        """As `Volume.write`."""
        yield from self._insist(lambda: self._volume.write(block, data, durable=durable))

    def flush(self) -> Task[None]:
        """As `Volume.flush`."""
        yield from self._insist(self._volume.flush)

    def _insist(self, begin: Callable[[], Task[Any]]) -> Task[Any]:
        until = self._now() + self._patience_ms
        while True:
            try:
                result = yield from begin()
            except DiskError:
                if self._now() >= until:
                    raise
            else:
                return result
            yield self._next()
