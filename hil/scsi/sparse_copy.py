"""Copies a file with its holes."""

from __future__ import annotations

import errno
import os
from typing import Final

_AT_ONCE: Final = 4 * 1024 * 1024


def sparse_copy(source: str, target: str) -> None:
    """``target`` must not exist, or is replaced. Raises ``OSError``."""
    with open(source, "rb", buffering=0) as read, open(target, "wb", buffering=0) as write:
        size = os.fstat(read.fileno()).st_size
        os.ftruncate(write.fileno(), size)
        start = 0
        while start < size:
            try:
                start = os.lseek(read.fileno(), start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # a hole up to the end
                    return
                raise
            end = os.lseek(read.fileno(), start, os.SEEK_HOLE)
            while start < end:
                data = os.pread(read.fileno(), min(end - start, _AT_ONCE), start)
                if not data:
                    return
                os.pwrite(write.fileno(), data, start)
                start += len(data)
