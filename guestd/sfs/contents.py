"""Contents of files: reading, writing, changing the size.

What is written waits in memory (`Journal.dirty`) for the next commit, which writes it before the transaction that makes
new blocks part of the file. So after a crash a file has no block that was not written for it.
"""

from __future__ import annotations

import errno

from guestd.dlm.modes import Mode
from guestd.sfs import extents
from guestd.sfs.block import BLOCK_SIZE
from guestd.sfs.errors import FsError
from guestd.sfs.inode import SIZE_MAX
from guestd.sfs.keys import INODE
from guestd.sfs.runs import Run
from guestd.sfs.space import allocate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.inode import Extent, Inode
    from guestd.sfs.operation import Operation
    from guestd.tasks.steps import Task

READ_AHEAD_BLOCKS = 32
"""That are read at once when a file is read from its beginning, or on."""
WRITE_BLOCKS_MAX = 256
"""In one operation: a mebibyte. Longer writes are several."""


def regular(operation: Operation, number: int, mode: Mode) -> Task[Inode]:
    """An inode with contents. Raises FsError (EISDIR, EINVAL)."""
    inode = yield from operation.live(number, mode)
    if inode.is_directory:
        raise FsError(errno.EISDIR, f"inode {number}")
    if not inode.is_regular:
        raise FsError(errno.EINVAL, f"inode {number} has no contents")
    return inode


def read(operation: Operation, number: int, offset: int, size: int) -> Task[bytes]:
    """At most `size` bytes; less at the end of the file."""
    inode = yield from regular(operation, number, Mode.PR)
    size = max(0, min(size, inode.size - offset))
    if size == 0:
        return b""
    first = offset // BLOCK_SIZE
    count = -(-(offset + size) // BLOCK_SIZE) - first
    guard = yield from operation.guard((INODE, inode.number), Mode.PR)
    runs = yield from extents.find(operation, inode, first, count)
    missing = any(at is not None and not guard.pages.across(at, at + 1) for _, at, _ in runs)
    # Who reads on where the last one has ended finds more in memory next time; so does who begins.
    if missing and first in (guard.read_to - 1, guard.read_to):
        ahead = min(max(count, READ_AHEAD_BLOCKS), -(-inode.size // BLOCK_SIZE) - first)
        runs = yield from extents.find(operation, inode, first, ahead)
    guard.read_to = first + count
    parts: list[bytes] = []
    for _, at, length in runs:
        if at is None:
            parts.append(bytes(length * BLOCK_SIZE))
        else:
            yield from _read_run(operation, inode.number, at, length, parts)
    skip = offset - first * BLOCK_SIZE
    return b"".join(parts)[skip : skip + size]


def _read_run(operation: Operation, number: int, at: int, length: int, parts: list[bytes]) -> Task[None]:
    """Blocks in a row: those that are cached, and the others with one command for each gap."""
    key = (INODE, number)
    guard = yield from operation.guard(key, Mode.PR)
    for first, end, known in guard.pages.pieces(at, at + length):
        data = known
        if data is None:
            data = yield from operation.place.blocks.read(first, end - first)
            guard.pages.put(Run(key, first, data))
        parts.append(data)


def _page(operation: Operation, number: int, at: int) -> Task[bytes]:
    """A block of the volume that belongs to that file, as it is now."""
    changed = operation.pages.block(at)
    if changed is not None:
        return changed
    parts: list[bytes] = []
    yield from _read_run(operation, number, at, 1, parts)
    return parts[0]


def write(operation: Operation, number: int, offset: int | None, data: bytes, now: int) -> Task[None]:
    """All of the data, about WRITE_BLOCKS_MAX blocks at most. offset None: the end. Raises FsError (ENOSPC, EFBIG)."""
    inode = yield from regular(operation, number, Mode.EX)
    if offset is None:
        offset = inode.size
    end = offset + len(data)
    if end > SIZE_MAX:
        raise FsError(errno.EFBIG, f"a file of {end} bytes (legal: {SIZE_MAX})")
    if offset > inode.size:
        yield from _zero_tail(operation, inode)
    first = offset // BLOCK_SIZE
    count = -(-end // BLOCK_SIZE) - first
    for block, at, length in (yield from extents.find(operation, inode, first, count)):
        while at is None and length:
            goal = yield from extents.last(operation, inode, block)
            start, got = yield from allocate(operation, length, goal if goal is not None else inode.number + 1)
            yield from extents.insert(operation, inode, (block, start, got))
            yield from _put_run(operation, inode, (block, start, got), offset, data, new=True)
            block, length = block + got, length - got  # noqa: PLW2901  # the rest of the hole
        if at is not None:
            yield from _put_run(operation, inode, (block, at, length), offset, data, new=False)
    inode.size = max(inode.size, end)
    inode.mtime = inode.ctime = now
    operation.touch(inode)


def _put_run(operation: Operation, inode: Inode, extent: Extent, offset: int, data: bytes, *, new: bool) -> Task[None]:
    """Change the blocks of an extent, as far as the data covers them."""
    block, at, length = extent
    # In blocks of the file: those that the data covers wholly, and at most one before them and one behind.
    low = min(max(block, -(-offset // BLOCK_SIZE)), block + length)
    high = max(low, min(block + length, (offset + len(data)) // BLOCK_SIZE))
    for part in range(block, low):
        yield from _put(operation, inode, part, at + part - block, offset, data, new=new)
    if low < high:
        whole = data[low * BLOCK_SIZE - offset : high * BLOCK_SIZE - offset]
        operation.pages.put(Run((INODE, inode.number), at + low - block, whole))
    for part in range(high, block + length):
        yield from _put(operation, inode, part, at + part - block, offset, data, new=new)


def _put(operation: Operation, inode: Inode, block: int, at: int, offset: int, data: bytes, *, new: bool) -> Task[None]:
    """Change the part of one block that the data covers. new: the rest of it is zeros."""
    start = block * BLOCK_SIZE
    low, high = max(offset, start), min(offset + len(data), start + BLOCK_SIZE)
    piece = data[low - offset : high - offset]
    if len(piece) < BLOCK_SIZE:
        old = bytes(BLOCK_SIZE) if new else (yield from _page(operation, inode.number, at))
        if start + BLOCK_SIZE > inode.size:  # behind the end there may be what was cut off
            old = old[: max(0, inode.size - start)].ljust(BLOCK_SIZE, b"\0")
        piece = old[: low - start] + piece + old[high - start :]
    operation.pages.put(Run((INODE, inode.number), at, piece))


def _zero_tail(operation: Operation, inode: Inode) -> Task[None]:
    """The file grows beyond its last block: what was cut off there once must not come back."""
    rest = inode.size % BLOCK_SIZE
    if rest == 0:
        return
    found = yield from extents.find(operation, inode, inode.size // BLOCK_SIZE, 1)
    at = found[0][1]
    if at is not None:
        page = yield from _page(operation, inode.number, at)
        operation.pages.put(Run((INODE, inode.number), at, page[:rest].ljust(BLOCK_SIZE, b"\0")))


def resize(operation: Operation, inode: Inode, size: int) -> Task[None]:
    """Another size; what is new is zeros. Raises FsError (EFBIG)."""
    if size > SIZE_MAX:
        raise FsError(errno.EFBIG, f"a file of {size} bytes (legal: {SIZE_MAX})")
    if size < inode.size:
        yield from extents.cut(operation, inode, -(-size // BLOCK_SIZE))
    elif size > inode.size:
        yield from _zero_tail(operation, inode)
    inode.size = size
    operation.touch(inode)
