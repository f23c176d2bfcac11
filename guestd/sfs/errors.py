"""What goes wrong in the file system.

Exception
├── FsError     what a caller of an operation gets: an errno, as of a system call
└── Damaged     a block that must not be believed; inside an operation it becomes FsError(EIO)
"""

from __future__ import annotations

import errno


class FsError(Exception):
    """An operation has failed and has changed nothing; `errno` is one of the module `errno`."""

    def __init__(self, number: int, why: str = "") -> None:
        name = errno.errorcode.get(number, str(number))
        super().__init__(f"{name}: {why}" if why else name)
        self.errno = number


class Damaged(Exception):
    """A block on the disk is not what must stand there; says which, and in what."""
