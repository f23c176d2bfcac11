"""The shared disk for a command of its own beside guestd (`guestctl fsck`): read only, and past the page cache."""

from __future__ import annotations

import errno
import mmap
import os

from guestd.runtime import discovery, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SECTOR_SIZE = 512
BUFFER_SIZE = 1 << 20


class DiskAway(Exception):
    """The shared disk cannot be opened; says why."""


def reader(environment: Mapping[str, str] = os.environ) -> Callable[[int, int], bytes]:
    """Reads sectors: (LBA, count, at most 2048) to their bytes; fewer at the end of the disk, none if it fails.

    Which disk it is, is found as guestd finds it. Raises BadSettings, DiskAway.
    """
    told = settings.load(environment)
    path, seen = (told.disk_path, []) if told.disk_path is not None else discovery.find_disk(told.wwid)
    if path is None:
        raise DiskAway(f"there is no disk {told.wwid!r} (there are: {', '.join(seen) or 'none'})")
    try:
        descriptor = _open(path)
    except OSError as why:
        raise DiskAway(f"{path}: {why.strerror}") from None
    buffer = mmap.mmap(-1, BUFFER_SIZE)  # a page boundary, as direct I/O wants it

    def read(lba: int, count: int) -> bytes:
        with memoryview(buffer)[: count * SECTOR_SIZE] as view:
            try:
                done = os.preadv(descriptor, [view], lba * SECTOR_SIZE)
            except OSError:
                return b""
        return buffer[:done]

    return read


def places(environment: Mapping[str, str] = os.environ) -> list[tuple[int, str, str | None]]:
    """Every LUN with its identity and its device, None while it is away. Raises BadSettings."""
    told = settings.load(environment)
    first = told.disk_path if told.disk_path is not None else discovery.find_disk(told.wwid)[0]
    further = [(wwid, discovery.find_disk(wwid)[0]) for wwid in told.data_wwids]
    return [(lun, *one) for lun, one in enumerate([(told.wwid, first), *further])]


def _open(path: str) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_DIRECT)  # what other nodes have written is not in this one's page cache
    except OSError as why:
        # A plain file on a file system without direct I/O, in trials; a disk always has it.
        if why.errno != errno.EINVAL:
            raise
        return os.open(path, flags)
