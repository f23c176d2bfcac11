"""What of libfuse 3 is called, and how (libfuse's `fuse_lowlevel.h`).

The layouts of what is shared with the C library (struct stat, fuse_file_info and so on, which differ between versions
of libfuse) are those of mfusepy, a binding of the high-level interface. The low-level one, which mfusepy leaves out,
has inodes, answers that may come later and from anywhere, and interrupts (docs/mount.md): it is declared here.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_double, c_int, c_int64, c_size_t, c_uint32, c_uint64

LIBRARY = "libfuse3.so.3"
# Else mfusepy looks for a compiler and for ldconfig, to ask them where the library is.
os.environ.setdefault("FUSE_LIBRARY_PATH", LIBRARY)

from mfusepy import (  # noqa: E402  # the line above must come first
    c_flock_t,
    c_stat,
    c_statvfs,
    fuse_buf,
    fuse_conn_info,
    fuse_file_info,
    fuse_version_major,
    fuse_version_minor,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Pointer = ctypes.c_void_p
FileInfo = POINTER(fuse_file_info)
FileLock = POINTER(c_flock_t)

CAP_ASYNC_READ = 1 << 0  # fuse_common.h
CAP_POSIX_LOCKS = 1 << 1
CAP_FLOCK_LOCKS = 1 << 10
CAP_AUTO_INVAL_DATA = 1 << 12
CAP_PARALLEL_DIROPS = 1 << 18


class Arguments(Structure):
    """struct fuse_args."""

    _fields_ = (("argc", c_int), ("argv", POINTER(c_char_p)), ("allocated", c_int))


class Caller(Structure):
    """struct fuse_ctx."""

    _fields_ = (("uid", c_uint32), ("gid", c_uint32), ("pid", c_int), ("umask", c_uint32))


class EntryParameters(Structure):
    """struct fuse_entry_param."""

    _fields_ = (
        ("ino", c_uint64),
        ("generation", c_uint64),
        ("attr", c_stat),
        ("attr_timeout", c_double),
        ("entry_timeout", c_double),
    )


class Buffer(Structure):
    """struct fuse_buf, with room for what later versions put behind it."""

    _fields_ = (("buf", fuse_buf), ("reserved", c_size_t * 4))


def _taking(*types: Any) -> Any:
    """The type of an operation of that name in struct fuse_lowlevel_ops: a request first, nothing returned."""
    return CFUNCTYPE(None, Pointer, *types)


_INODE = c_uint64
_NAME = c_char_p

# In the order of the structure; Pointer: never set, for what is not among the requests of guestd.sfs.requests. The
# kernel takes that for "not supported", remembers it, and does what it can by itself.
OPERATIONS: tuple[tuple[str, Any], ...] = (
    ("init", CFUNCTYPE(None, Pointer, POINTER(fuse_conn_info))),
    ("destroy", Pointer),
    ("lookup", _taking(_INODE, _NAME)),
    ("forget", _taking(_INODE, c_uint64)),
    ("getattr", _taking(_INODE, Pointer)),
    ("setattr", _taking(_INODE, POINTER(c_stat), c_int, FileInfo)),
    ("readlink", _taking(_INODE)),
    ("mknod", _taking(_INODE, _NAME, c_uint32, c_uint64)),
    ("mkdir", _taking(_INODE, _NAME, c_uint32)),
    ("unlink", _taking(_INODE, _NAME)),
    ("rmdir", _taking(_INODE, _NAME)),
    ("symlink", _taking(_NAME, _INODE, _NAME)),
    ("rename", _taking(_INODE, _NAME, _INODE, _NAME, c_uint32)),
    ("link", _taking(_INODE, _INODE, _NAME)),
    ("open", _taking(_INODE, FileInfo)),
    ("read", _taking(_INODE, c_size_t, c_int64, FileInfo)),
    ("write", _taking(_INODE, Pointer, c_size_t, c_int64, FileInfo)),
    ("flush", _taking(_INODE, FileInfo)),
    ("release", _taking(_INODE, FileInfo)),
    ("fsync", _taking(_INODE, c_int, FileInfo)),
    ("opendir", _taking(_INODE, FileInfo)),
    ("readdir", _taking(_INODE, c_size_t, c_int64, FileInfo)),
    ("releasedir", _taking(_INODE, FileInfo)),
    ("fsyncdir", _taking(_INODE, c_int, FileInfo)),
    ("statfs", _taking(_INODE)),
    *((name, Pointer) for name in ("setxattr", "getxattr", "listxattr", "removexattr", "access")),
    ("create", _taking(_INODE, _NAME, c_uint32, FileInfo)),
    ("getlk", _taking(_INODE, FileInfo, FileLock)),
    ("setlk", _taking(_INODE, FileInfo, FileLock, c_int)),
    *((name, Pointer) for name in ("bmap", "ioctl", "poll", "write_buf", "retrieve_reply", "forget_multi")),
    ("flock", _taking(_INODE, FileInfo, c_int)),
    *((name, Pointer) for name in ("fallocate", "readdirplus", "copy_file_range", "lseek")),
)


class Operations(Structure):
    """struct fuse_lowlevel_ops of 3.14; the library is told its size, and takes what is missing for not set."""

    _fields_ = OPERATIONS


INTERRUPTED = CFUNCTYPE(None, Pointer, Pointer)  # the request, and what was given when it was asked for

_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "fuse_session_new": (Pointer, (POINTER(Arguments), POINTER(Operations), c_size_t, Pointer)),
    "fuse_session_mount": (c_int, (Pointer, c_char_p)),
    "fuse_session_unmount": (None, (Pointer,)),
    "fuse_session_destroy": (None, (Pointer,)),
    "fuse_session_exited": (c_int, (Pointer,)),
    "fuse_session_fd": (c_int, (Pointer,)),
    "fuse_session_process_buf": (None, (Pointer, POINTER(Buffer))),
    "fuse_req_ctx": (POINTER(Caller), (Pointer,)),
    "fuse_req_interrupt_func": (None, (Pointer, INTERRUPTED, Pointer)),
    "fuse_reply_none": (None, (Pointer,)),
    "fuse_reply_err": (c_int, (Pointer, c_int)),
    "fuse_reply_entry": (c_int, (Pointer, POINTER(EntryParameters))),
    "fuse_reply_create": (c_int, (Pointer, POINTER(EntryParameters), FileInfo)),
    "fuse_reply_attr": (c_int, (Pointer, POINTER(c_stat), c_double)),
    "fuse_reply_readlink": (c_int, (Pointer, c_char_p)),
    "fuse_reply_open": (c_int, (Pointer, FileInfo)),
    "fuse_reply_write": (c_int, (Pointer, c_size_t)),
    "fuse_reply_buf": (c_int, (Pointer, c_char_p, c_size_t)),
    "fuse_reply_statfs": (c_int, (Pointer, POINTER(c_statvfs))),
    "fuse_reply_lock": (c_int, (Pointer, FileLock)),
    "fuse_lowlevel_notify_inval_inode": (c_int, (Pointer, c_uint64, c_int64, c_int64)),
    "fuse_add_direntry": (c_size_t, (Pointer, Pointer, c_size_t, c_char_p, POINTER(c_stat), c_int64)),
}


def load() -> ctypes.CDLL:
    """The library, which mfusepy has loaded already, with the types of all that is called. Raises OSError."""
    if (fuse_version_major, fuse_version_minor) < (3, 5):
        raise OSError(f"libfuse {fuse_version_major}.{fuse_version_minor} is too old (needed: 3.5)")
    library = ctypes.CDLL(os.environ["FUSE_LIBRARY_PATH"], use_errno=True)
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def detach(point: str) -> None:
    """umount2(2) with MNT_DETACH: gone from the tree at once, whoever still has files of it open. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(point), 2) != 0:
        raise OSError(ctypes.get_errno(), f"cannot unmount {point}")


def callback(name: str, function: Callable[..., None]) -> Any:
    """What goes into `Operations` under that name."""
    return dict(OPERATIONS)[name](function)


__all__ = [
    "CAP_ASYNC_READ",
    "CAP_AUTO_INVAL_DATA",
    "CAP_FLOCK_LOCKS",
    "CAP_PARALLEL_DIROPS",
    "CAP_POSIX_LOCKS",
    "INTERRUPTED",
    "OPERATIONS",
    "Arguments",
    "Buffer",
    "EntryParameters",
    "Operations",
    "c_flock_t",
    "c_stat",
    "c_statvfs",
    "callback",
    "detach",
    "fuse_file_info",
    "load",
]
