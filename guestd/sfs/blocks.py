"""The volume in blocks of 4096 bytes, and the checks of what is read from it."""

from __future__ import annotations

from guestd.sfs.block import BLOCK_SIZE, SECTORS, unseal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.block import Kind
    from guestd.tasks.steps import Task
    from guestd.vdm.volume import Volume

COMMAND_BLOCKS_MAX = 32
"""In one durable command: what every disk path takes."""
PLAIN_BLOCKS_MAX = 256
"""In one other command: a mebibyte. A command costs an emulated node as much time as it takes to copy a mebibyte."""


class Blocks:
    """In front of a volume."""

    __slots__ = ("_volume", "count")

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.count = volume.blocks // SECTORS

    def read(self, number: int, count: int = 1) -> Task[bytes]:
        """`count` blocks from there on. Raises DiskError."""
        parts = []
        for first in range(number, number + count, PLAIN_BLOCKS_MAX):
            size = min(PLAIN_BLOCKS_MAX, number + count - first)
            parts.append((yield from self._volume.read(first * SECTORS, size * SECTORS)))
        return b"".join(parts)

    def read_body(self, uuid: bytes, kind: Kind, number: int) -> Task[bytes]:
        """The body of a block of that kind. Raises DiskError, Damaged."""
        data = yield from self.read(number)
        return unseal(uuid, kind, number, data)

    def write(self, number: int, data: bytes, *, durable: bool = False) -> Task[None]:
        """Raises DiskError."""
        size = (COMMAND_BLOCKS_MAX if durable else PLAIN_BLOCKS_MAX) * BLOCK_SIZE
        for offset in range(0, len(data), size):
            at = (number + offset // BLOCK_SIZE) * SECTORS
            yield from self._volume.write(at, data[offset : offset + size], durable=durable)

    def write_all(self, pieces: dict[int, bytes]) -> Task[None]:
        """Each to its place, of one block or more; neighbours in one command. Raises DiskError."""
        gathered: list[bytes] = []
        first = end = 0
        for number in sorted(pieces):
            count = len(pieces[number]) // BLOCK_SIZE
            if gathered and (number != end or end - first + count > PLAIN_BLOCKS_MAX):
                yield from self.write(first, b"".join(gathered))
                gathered = []
            if not gathered:
                first = end = number
            gathered.append(pieces[number])
            end += count
        if gathered:
            yield from self.write(first, b"".join(gathered))  # one alone is not copied

    def flush(self) -> Task[None]:
        """What was written before is on the medium when it ends. Raises DiskError."""
        yield from self._volume.flush()
