"""A thread for each lane: carries out disk commands, so that a disk that hangs stops no heartbeat on the wire.

One command at a time (the stack never has two of a lane out). The loop is told of its end through an eventfd.
"""

from __future__ import annotations

import _thread  # threading would do the same and take twice as long to import
import errno
import mmap
import os

from guestd.core.effects import ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.fence.persistent_reserve import GOOD, RESERVATION_CONFLICT
from guestd.runtime import scsi_generic
from guestd.tasks.engine import SYNCHRONIZE_CACHE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Command = WriteSectors | ReadSectors | ScsiCommand
    Done = WriteDone | ReadDone | ScsiDone

SECTOR_SIZE = 512
BUFFER_SIZE = 1 << 20  # the largest command there is; the regions of 64 nodes take a quarter of it


class DiskThread:
    """Direct I/O on the shared disk: what was read comes from the disk, what was written is on it."""

    def __init__(self, find: Callable[[], str | None]) -> None:
        """find: the path of the disk now, None while it is away."""
        self._find = find
        self._fd = -1
        self._buffer = mmap.mmap(-1, BUFFER_SIZE)  # a page boundary, as direct I/O wants it
        self._takes_all_addresses = True
        self._wanted = os.eventfd(0)
        self._ended = os.eventfd(0, os.EFD_NONBLOCK)
        self._generic = -1  # the same disk's generic SCSI device
        self._command: Command | None = None
        self._result: Done | None = None
        _thread.start_new_thread(self._work, ())

    def fileno(self) -> int:
        """Readable when a command has ended."""
        return self._ended

    def submit(self, command: Command) -> None:
        """Begin a command. The last one must have ended."""
        assert self._command is None, f"{command} while {self._command} is out"
        self._command = command
        os.eventfd_write(self._wanted, 1)

    def take(self) -> Done | None:
        """The end of the command that was out, once `fileno` is readable."""
        try:
            os.eventfd_read(self._ended)
        except BlockingIOError:
            return None
        result, self._result, self._command = self._result, None, None
        return result

    def _work(self) -> None:
        while True:
            os.eventfd_read(self._wanted)
            command = self._command
            assert command is not None
            try:
                self._result = self._carry_out(command)
            except OSError as why:
                self._close()  # perhaps the device has gone and comes back under another name
                self._result = _failed(command, why)
            os.eventfd_write(self._ended, 1)

    def _carry_out(self, command: Command) -> Done:
        if isinstance(command, ScsiCommand):
            return self._execute(command)
        if isinstance(command, WriteSectors) and command.durable and self._has_generic():
            return self._write_through(command)
        if self._fd < 0:
            self._fd = self._open()
        start = command.lba * SECTOR_SIZE
        if isinstance(command, WriteSectors):
            size = len(command.data)
            done = self._write(command.data, start, os.RWF_DSYNC if command.durable else 0)
        else:
            size = command.count * SECTOR_SIZE
            with memoryview(self._buffer)[:size] as view:
                done = os.preadv(self._fd, [view], start)
        if done != size:
            raise OSError(errno.EIO, f"{done} of {size} bytes")
        if isinstance(command, WriteSectors):
            return WriteDone(command.tag, True)
        return ReadDone(command.tag, True, self._buffer[:size])

    def _write(self, data: bytes, start: int, flags: int) -> int:
        """How many bytes were written. Linux from 6.0 on takes them for direct I/O where they lie; earlier ones want
        the boundary of a block there.
        """
        if self._takes_all_addresses:
            try:
                return os.pwritev(self._fd, [data], start, flags)
            except OSError as why:
                if why.errno != errno.EINVAL:
                    raise
                self._takes_all_addresses = False
        self._buffer[: len(data)] = data
        with memoryview(self._buffer)[: len(data)] as view:
            return os.pwritev(self._fd, [view], start, flags)

    def _execute(self, command: ScsiCommand) -> ScsiDone:
        if command.cdb == SYNCHRONIZE_CACHE and not self._has_generic():
            if self._fd < 0:
                self._fd = self._open()
            os.fdatasync(self._fd)
            return ScsiDone(command.tag, GOOD)
        fd = self._open_generic()
        return ScsiDone(command.tag, *scsi_generic.execute(fd, command.cdb, command.data, command.reply_size))

    def _write_through(self, command: WriteSectors) -> WriteDone:
        status = scsi_generic.write_through(self._open_generic(), command.lba, command.data)
        return WriteDone(command.tag, status == GOOD, conflict=status == RESERVATION_CONFLICT)

    def _has_generic(self) -> bool:
        """Whether it is a SCSI disk; in trials it is a plain file."""
        return self._generic >= 0 or scsi_generic.is_disk(self._path())

    def _open_generic(self) -> int:
        if self._generic < 0:
            self._generic = scsi_generic.open_device(self._path())
        return self._generic

    def _path(self) -> str:
        path = self._find()
        if path is None:
            raise OSError(errno.ENODEV, "the shared disk is away")
        return path

    def _open(self) -> int:
        path = self._path()
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(path, flags | os.O_DIRECT)
        except OSError as why:
            # A plain file on a file system without direct I/O, in trials; a disk always has it.
            if why.errno != errno.EINVAL:
                raise
            return os.open(path, flags)

    def _close(self) -> None:
        fds, self._fd, self._generic = (self._fd, self._generic), -1, -1
        for fd in fds:
            if fd >= 0:
                try:
                    os.close(fd)
                except OSError:
                    continue


def _failed(command: Command, why: OSError) -> Done:
    if isinstance(command, ScsiCommand):
        return ScsiDone(command.tag, -1)
    if isinstance(command, ReadSectors):
        return ReadDone(command.tag, False, b"")
    # EBADE is what Linux makes of the status RESERVATION CONFLICT.
    return WriteDone(command.tag, False, conflict=why.errno == errno.EBADE)
