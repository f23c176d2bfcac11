"""A range of blocks that tasks read and write: what a file system lies on."""

from __future__ import annotations

from guestd.tasks.steps import Flush, Read, Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.tasks.steps import Task


class Volume:
    """A contiguous one; a virtual disk overrides how its blocks are found. Numbers are blocks of 512 bytes."""

    __slots__ = ("_first_lba", "blocks")

    def __init__(self, first_lba: int, blocks: int) -> None:
        self._first_lba = first_lba
        self.blocks = blocks

    def read(self, block: int, count: int) -> Task[bytes]:
        """`count` blocks from there on. Raises DiskError; ValueError for what is not of this volume."""
        self._check(block, count)
        data: bytes = yield Read(self._first_lba + block, count)
        return data

    def write(self, block: int, data: bytes, *, durable: bool = False) -> Task[None]:
        """Write whole blocks. durable: on the medium when it ends. Raises as `read`."""
        self._check(block, len(data) // 512)
        yield Write(self._first_lba + block, data, durable)

    def flush(self) -> Task[None]:
        """What had been written before is on the medium when it ends. Raises DiskError."""
        yield Flush()

    def _check(self, block: int, count: int) -> None:
        if block < 0 or count < 1 or block + count > self.blocks:
            raise ValueError(f"blocks {block} to {block + count - 1} of a volume of {self.blocks}")
