"""The medium of one logical unit: a raw file, locked against a second target."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import stat
from types import TracebackType
from typing import Final, Self

from hil.errors import UsageError

BLOCK_BYTES: Final = 512
BYTES_MIN: Final = 64 * 1024  # below that neither a partition table nor the membership database has a place
_PUNCH_HOLE: Final = 0x02 | 0x01  # linux/falloc.h: FALLOC_FL_PUNCH_HOLE, which needs FALLOC_FL_KEEP_SIZE
_ZEROS_AT_ONCE: Final = 1024 * 1024
_UNITS: Final = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def parse_lun(text: str) -> tuple[str, int | None]:
    """``FILE[:SIZE]`` as path and size in bytes (None: the file's own). SIZE is a number with K, M, G, T or nothing."""
    found = re.fullmatch(r"(?s)(.+):(\d+)([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if not found:
        return text, None
    return found[1], int(found[2]) * _UNITS[found[3].upper()]


class Medium:
    """An open raw file of ``blocks`` blocks of 512 bytes. Offsets and lengths are checked by the caller.

    ``sync``: SYNCHRONIZE CACHE and FUA reach the host's disk too. Off by default: the power failure that is emulated
    is the guests', and what was written to the file survives that in the host's page cache.
    """

    def __init__(self, path: str, size_bytes: int | None = None, *, sync: bool = False) -> None:
        self.path = path
        self.sync = sync
        self.write_protected = False  # by software: SWP of the control mode page; the caller looks at it
        self.fd = _open(path, size_bytes)
        try:
            self.blocks: int = _blocks(self.fd, path, size_bytes)
        except BaseException:
            os.close(self.fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Releases the lock as well."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read(self, lba: int, blocks: int) -> bytes:
        """Raises ``OSError`` when the host cannot read; short when someone truncated the file under us."""
        return os.pread(self.fd, blocks * BLOCK_BYTES, lba * BLOCK_BYTES)

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> int:
        """Bytes written (fewer when the host's disk is full). Raises ``OSError``."""
        return os.pwrite(self.fd, data, lba * BLOCK_BYTES)

    def unmap(self, lba: int, blocks: int) -> None:
        """Makes them zeros, and a hole where the file system can; elsewhere zeros are written. Raises ``OSError``."""
        start, end = lba * BLOCK_BYTES, (lba + blocks) * BLOCK_BYTES
        if start == end or _punch_hole(self.fd, start, end - start):
            return
        while start < end:
            start += os.pwrite(self.fd, bytes(min(end - start, _ZEROS_AT_ONCE)), start)

    def provisioning(self, lba: int) -> tuple[int, bool]:
        """The end of the run of blocks from ``lba`` that are all data (True) or all in a hole (False)."""
        offset = lba * BLOCK_BYTES
        try:
            data = os.lseek(self.fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # which says: a hole up to the end
                raise
            return self.blocks, False
        if data // BLOCK_BYTES > lba:
            return min(data // BLOCK_BYTES, self.blocks), False
        hole = os.lseek(self.fd, offset, os.SEEK_HOLE)
        return min(-(-hole // BLOCK_BYTES), self.blocks), True

    def pre_fetch(self, lba: int, blocks: int) -> None:
        """Asks the host to read them into its page cache; does not wait, nor complain when it cannot."""
        with contextlib.suppress(OSError):
            os.posix_fadvise(self.fd, lba * BLOCK_BYTES, blocks * BLOCK_BYTES, os.POSIX_FADV_WILLNEED)

    def flush(self) -> None:
        """What was written survives a power failure of the guests; of the host only with ``sync``."""
        if self.sync:
            os.fdatasync(self.fd)


_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _punch_hole(fd: int, offset: int, length: int) -> bool:
    """False where the file system has no holes. Raises ``OSError``."""
    arguments = (ctypes.c_int(fd), ctypes.c_int(_PUNCH_HOLE), ctypes.c_int64(offset), ctypes.c_int64(length))
    while _LIBC.fallocate(*arguments):
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


def _open(path: str, size_bytes: int | None) -> int:
    """An exclusive, locked descriptor. Creates the file only when a size says how large it is to be."""
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if size_bytes is not None else 0)
    try:
        fd = os.open(path, flags, 0o644)
    except FileNotFoundError:
        if size_bytes is not None:
            raise UsageError(f"LUN file {path}: its directory does not exist") from None
        raise UsageError(f"LUN file {path} does not exist: give FILE:SIZE (as {path}:64M) to make it") from None
    except OSError as error:
        raise UsageError(f"LUN file {path} cannot be opened for reading and writing: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UsageError(f"LUN file {path} is in use by another target") from None
    return fd


def _blocks(fd: int, path: str, size_bytes: int | None) -> int:
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode):
        raise UsageError(f"LUN file {path} is not a regular file")
    if not about.st_mode & 0o222:  # root could write all the same, but somebody protected this file
        raise UsageError(f"LUN file {path} is read-only (mode {stat.S_IMODE(about.st_mode):04o})")
    wanted = about.st_size if size_bytes is None else size_bytes
    if wanted < BYTES_MIN or wanted % BLOCK_BYTES:
        raise UsageError(
            f"LUN file {path}: {wanted} bytes are too small or no whole blocks: "
            f"at least {BYTES_MIN} and a multiple of {BLOCK_BYTES} are legal"
        )
    if about.st_size == 0:
        os.ftruncate(fd, wanted)
    elif about.st_size < wanted:
        raise UsageError(f"LUN file {path} is too small: it has {about.st_size} bytes, {wanted} are asked for")
    return wanted // BLOCK_BYTES
