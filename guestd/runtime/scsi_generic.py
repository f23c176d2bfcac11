"""SCSI commands through Linux' generic SCSI device (/dev/sgN), by its first interface: header, CDB and data in one
write, header and data in one read (linux/Documentation/scsi/scsi-generic.rst; struct sg_header).

The newer one (SG_IO) takes addresses of buffers, which a Python without ctypes cannot give; importing ctypes costs
more than the rest of guestd.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from guestd.fence.persistent_reserve import CHECK_CONDITION

_HEADER = struct.Struct("=iiiiI16s")  # pack_len, reply_len, pack_id, result, bit fields, sense buffer
_SET_TIMEOUT = 0x2201
_TICKS_PER_S = 100  # USER_HZ
TIMEOUT_S = 20
NO_ANSWER = -1
ATTENTIONS_MAX = 8  # more in a row are no news but a fault

_WRITE_10 = struct.Struct(">BBIxHx")
_FUA = 0x08
_UNIT_ATTENTION = 0x06


def is_disk(path: str) -> bool:
    """Whether it is a SCSI disk, which has a generic device."""
    return os.path.isdir(f"/sys/block/{os.path.basename(os.path.realpath(path))}/device/scsi_generic")


def device_of(disk: str) -> str:
    """The generic device of a disk: of /dev/sda it is /dev/sg0, say. Raises OSError if there is none."""
    name = os.path.basename(os.path.realpath(disk))
    found = os.listdir(f"/sys/block/{name}/device/scsi_generic")
    if not found:
        raise OSError(errno.ENODEV, f"{disk} has no generic SCSI device")
    return f"/dev/{found[0]}"


def execute(fd: int, cdb: bytes, data: bytes, reply_size: int) -> tuple[int, bytes, int]:
    """Carry out one command: SCSI status (NO_ANSWER: the transport failed), data, sense key. Raises OSError."""
    os.write(fd, _HEADER.pack(0, _HEADER.size + reply_size, 0, 0, 0, b"") + cdb + data)
    answer = os.read(fd, _HEADER.size + reply_size)
    _, _, _, _, fields, sense = _HEADER.unpack_from(answer)
    status, host, driver = (fields >> 1 & 0x1F) << 1, fields >> 6 & 0xFF, fields >> 14 & 0xFF
    if host or (driver and not status):
        return NO_ANSWER, b"", 0
    # Fixed format has the sense key in byte 2, descriptor format (72h, 73h) in byte 1 (SPC-4 4.5).
    key = sense[1 if sense[0] & 0x7F >= 0x72 else 2] & 0x0F
    return status, answer[_HEADER.size :], key


def write_through(fd: int, lba: int, data: bytes) -> int:
    """WRITE (10) with FUA, of whole blocks of 512 bytes: SCSI status, as `execute`. Raises OSError.

    One command. What the block layer makes of a synchronous write is two: it flushes the whole cache as well.
    """
    cdb = _WRITE_10.pack(0x2A, _FUA, lba, len(data) // 512)
    status, _, key = execute(fd, cdb, data, 0)
    attentions = 0
    while (status, key) == (CHECK_CONDITION, _UNIT_ATTENTION) and attentions < ATTENTIONS_MAX:
        # It tells of something else that has happened; the command was not carried out, and is sent anew.
        attentions += 1
        status, _, key = execute(fd, cdb, data, 0)
    return status


def open_device(disk: str) -> int:
    """A descriptor for `execute`. Raises OSError."""
    fd = os.open(device_of(disk), os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, _SET_TIMEOUT, struct.pack("i", TIMEOUT_S * _TICKS_PER_S))
    return fd
