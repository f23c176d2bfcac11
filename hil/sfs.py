"""The shared file system on a disk's image, looked over on the host."""

from __future__ import annotations

import os
from pathlib import Path

from guestd.sfs.examine import CannotCheck, Examined, examine
from guestd.sfs.level import VIRTUAL_DISK
from hil.errors import UsageError

SECTOR_SIZE = 512


def examined(image: Path, disk: str = VIRTUAL_DISK) -> Examined:
    """What is wrong with the file system on that virtual disk of the disk in `image`.

    Raises :class:`UsageError` if there is nothing to look at, saying why.
    """
    try:
        with open(image, "rb", buffering=0) as file:

            def read(lba: int, count: int) -> bytes:
                return os.pread(file.fileno(), count * SECTOR_SIZE, lba * SECTOR_SIZE)

            return examine(read, disk)
    except CannotCheck as why:
        raise UsageError(f"{image}: {why}") from None
    except OSError as error:
        raise UsageError(f"{image}: {error.strerror}") from None
