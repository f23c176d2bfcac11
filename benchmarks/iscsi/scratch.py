"""A directory for the files of one run; what a killed run left, in memory perhaps, the next one removes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "hil-bench-"
_YOUNG_S = 60.0  # another run may just have made it and be about to lock it


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new directory in ``parent``, locked as long as it is in use, and removed at the end."""
    sweep(parent)
    path = Path(tempfile.mkdtemp(dir=parent, prefix=_PREFIX))
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path)
        os.close(descriptor)


def sweep(parent: Path) -> None:
    """Removes what nobody uses any more; what belongs to another user stays."""
    for path in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                about = os.fstat(descriptor)
                if about.st_uid == os.geteuid() and about.st_ctime < time.time() - _YOUNG_S:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(descriptor)
