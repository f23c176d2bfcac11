"""Reads requests from FUSE's device so that what a program writes is copied once, by the kernel.

libfuse reads each request into a buffer of its own, out of which the data would have to be copied again. Here the head
of a request goes to where libfuse looks for it, and what comes behind it straight into a `bytes` that nobody else knows
yet; the same one then goes to the disk. On an emulated processor each copy of a mebibyte takes as long as the disk does
to write it, and new memory for it takes three times that, for the kernel's page faults.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

from guestd.runtime.fuse import library as fuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WRITE_SIZE_MAX = 1 << 20  # the most that Linux has (FUSE_MAX_MAX_PAGES)
HEAD_SIZE = 80  # struct fuse_in_header and struct fuse_write_in (linux/fuse.h)
_OPCODE = slice(4, 8)  # in struct fuse_in_header
_WRITE = (16).to_bytes(4, "little")  # FUSE_WRITE

# So much is taken from the heap, and stays there when it is free again, instead of being mapped each time (mallopt).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD = 4 << 20
_TRIM_THRESHOLD = 32 << 20

_new_bytes: Any = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)
_address_of: Any = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(("PyBytes_AsString", ctypes.pythonapi))


class Receiver:
    """Of one mount."""

    def __init__(self, fd: int) -> None:
        """fd: the device; it does not block."""
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
        self._fd = fd
        self._area = mmap.mmap(-1, HEAD_SIZE + WRITE_SIZE_MAX)  # a request as libfuse wants it
        self._head = memoryview(self._area)[:HEAD_SIZE]
        self._behind = memoryview(self._area)[HEAD_SIZE:]
        self._fresh()
        self.size = 0  # of the request that was received last
        self.request = fuse.Buffer()
        """The request that was received, for libfuse. Of a write it has the head only."""
        self.request.buf.mem = ctypes.addressof(ctypes.c_char.from_buffer(self._area))

    def receive(self) -> bool:
        """Whether there was a request; False: not just now. Raises OSError when the mount has gone."""
        while True:
            try:
                size = os.readv(self._fd, [self._head, self._room])
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as why:
                if why.errno == errno.ENOENT:  # whoever asked has given up, while it was read
                    continue
                raise
            if size > HEAD_SIZE and self._head[_OPCODE] != _WRITE:
                self._behind[: size - HEAD_SIZE] = memoryview(self._data)[: size - HEAD_SIZE]
            self.size = self.request.buf.size = size
            return True

    def written(self, size: int) -> bytes:
        """The data of the write that was received, of so many bytes."""
        if size < WRITE_SIZE_MAX:
            return self._data[:size]
        data = self._data
        self._fresh()
        return data

    def _fresh(self) -> None:
        """A `bytes` without contents, which may be filled while nobody has it (Python's C API says so)."""
        self._data: bytes = _new_bytes(None, WRITE_SIZE_MAX)
        self._room = (ctypes.c_char * WRITE_SIZE_MAX).from_address(_address_of(self._data))
