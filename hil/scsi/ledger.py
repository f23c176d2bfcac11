"""The ledger: one record per command that reached the target, in the one order in which they took effect.

The file (``ledger_records``) is only ever appended to. A restarted target goes on in the same file. Beside it the data
that reached the medium can be kept (``kept_data``).

What survives: the writer hands everything to the kernel *before* the answers that it is about are sent (``flush``
runs before each batch of answers), so after a SIGKILL of the target every answered command is in the file; a command
that was executed but not answered may be missing. A power failure of the host loses what its page cache had not
written yet.
"""

from __future__ import annotations

import fcntl
import os
import struct
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any

from hil.errors import HilError, UsageError
from hil.scsi.digest import DIGEST_BYTES
from hil.scsi.kept_data import PowerLoss
from hil.scsi.ledger_reader import read_all, read_ledger, read_nexuses, read_records
from hil.scsi.ledger_records import (
    BY_POWER_LOSS,
    FOUND,
    HEADER,
    MAGIC,
    RECORD_BYTES,
    VERSION,
    Entry,
    FaultHealed,
    FaultInjected,
    Found,
    NexusName,
    NotALedger,
    PowerLost,
    Record,
    RegistrationEnded,
    Reverted,
    header,
    pack_command,
    pack_ended,
    pack_healed,
    pack_injected,
    pack_nexus,
    pack_placed,
    pack_power_lost,
    pack_struck,
)
from hil.scsi.sense import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from os import PathLike

    from hil.scsi.command import Command, Nexus, Outcome
    from hil.scsi.kept_data import KeptData
    from hil.scsi.placement import Piece
    from hil.scsi.reservations import Identity

__all__ = [
    "DIGEST_BYTES",
    "MAGIC",
    "RECORD_BYTES",
    "VERSION",
    "Entry",
    "Ledger",
    "LedgerLost",
    "NexusName",
    "NotALedger",
    "Record",
    "RegistrationEnded",
    "read_all",
    "read_ledger",
    "read_nexuses",
    "status_name",
]


class LedgerLost(HilError):
    """The ledger cannot be written any more; the target must not go on without."""


class Ledger:
    """The writer. ``data`` is where what reaches the medium is kept as well; the ledger flushes and closes it.

    ``clock`` gives the times of the records, in nanoseconds; a simulation has its own. ``real_ns``: when the file was
    begun, by the calendar. Raises ``UsageError`` when ``path`` cannot be opened, is in use, or is something else.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        data: KeptData | None = None,
        *,
        clock: Callable[[], int] = monotonic_ns,
        real_ns: int | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self._clock = clock
        self._real_ns = time_ns() if real_ns is None else real_ns
        self.keeps_data = data is not None
        self._data = data
        self._fd = _open(self.path)
        self._waiting: list[bytes] = []
        self.nexuses: list[NexusName] = []
        self.order_next = 0
        self.fault_next = 1
        self._since_last = (0, 0)  # nexuses that lost power, pieces lost or found, after the last command of the file
        self._in_force: dict[int, int] = {}  # number of a fault to the commands it has struck
        try:
            self._continue()
            if data is not None:
                data.follow(self.path, self._identity(), self.order_next, *self._since_last)
        except BaseException:
            os.close(self._fd)
            raise

    def _continue(self) -> None:
        """After what the file holds already; a record cut short by the end of an earlier target is dropped.

        Faults that were in force when that target was killed have ended with it.
        """
        size = os.fstat(self._fd).st_size
        if size < HEADER.size and MAGIC.startswith(os.pread(self._fd, len(MAGIC), 0)):
            os.ftruncate(self._fd, 0)
            os.write(self._fd, header(self._clock(), self._real_ns))
            return
        end = HEADER.size
        try:
            with open(self.path, "rb") as file:
                for end_of_record, found in read_records(file, self.path):
                    self._remember(found)
                    if not isinstance(found, RegistrationEnded):  # which belongs to a command that must follow
                        end = end_of_record
        except NotALedger as error:
            raise UsageError(str(error)) from None
        os.ftruncate(self._fd, end)
        self._end_faults()

    def _identity(self) -> bytes:
        """No other ledger has it: when it was begun, by two clocks."""
        _, _, _, *begun_ns = HEADER.unpack(os.pread(self._fd, HEADER.size, 0))
        return struct.pack("<QQ", *begun_ns)

    def _remember(self, found: Record) -> None:
        match found:
            case NexusName():
                self.nexuses.append(found)
            case Entry():
                self.order_next = found.order + 1
                self._since_last = (0, 0)
                self._count(found.faults)
            case PowerLost():
                self._since_last = (self._since_last[0] + 1, self._since_last[1])
            case Reverted() | Found():
                self._since_last = (self._since_last[0], self._since_last[1] + 1)
            case FaultInjected():
                self.fault_next = found.number + 1
                self._in_force[found.number] = 0
            case FaultHealed():
                self._in_force.pop(found.number, None)

    def _count(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number in self._in_force:
                self._in_force[number] += 1

    def _end_faults(self) -> None:
        for number, struck in self._in_force.items():
            self._waiting.append(pack_healed(self.order_next, number, struck, "end", self._clock()))
        self._in_force.clear()

    def nexus(self, initiator: str, portal: str) -> int:
        """The number of this nexus, new at its first mention."""
        for name in self.nexuses:
            if (name.initiator, name.portal) == (initiator, portal):
                return name.number
        name = NexusName(len(self.nexuses), initiator, portal)
        self._waiting.append(pack_nexus(name))
        self.nexuses.append(name)
        return name.number

    def record(self, nexus: Nexus, command: Command, outcome: Outcome) -> None:
        """Takes ``command`` down as finished with ``outcome`` now; in the file after the next ``flush``."""
        order = self.order_next
        if command.faults or command.placed:
            self._record_effects(order, command)
        self._waiting.append(pack_command(order, nexus.index, command, outcome, self._clock()))
        self.order_next = order + 1

    def _record_effects(self, order: int, command: Command) -> None:
        placed = command.placed or ()
        if command.faults:
            numbers = [fault.number for fault in command.faults]
            self._waiting.append(pack_struck(order, numbers))
            self._count(numbers)
            self._waiting += [pack_placed(order, command.lun, piece) for piece in placed]
        if self._data is not None:
            for piece in placed:
                self._data.add(order, command.lun, piece)

    def registration_ended(self, nexus: Identity, lun: int, key: int, by: Nexus) -> None:
        """Takes down that the command which ``record`` is called for next, of ``by``, ended a registration."""
        number = self.nexus(*nexus)
        self._waiting.append(pack_ended(self.order_next, number, lun, key, by.index, self._clock()))

    def fault_injected(self, number: int, about: dict[str, Any]) -> None:
        """Takes down a fault that is in force now. No number is used twice in one file."""
        self.fault_next = number + 1
        self._in_force[number] = 0
        self._waiting.append(pack_injected(self.order_next, number, about, self._clock()))

    def fault_healed(self, number: int, struck: int, why: str) -> None:
        """Takes down that a fault is over; ``why``: asked, time, count."""
        self._in_force.pop(number, None)
        self._waiting.append(pack_healed(self.order_next, number, struck, why, self._clock()))

    def power_lost(self, lun: int, nexuses: Collection[int], lost: Iterable[Piece], fates: Mapping[int, bytes]) -> None:
        """Takes down that the nodes of these nexuses have lost power, and what became of blocks in a volatile cache.

        ``fates`` as in ``kept_data.PowerLoss``.
        """
        if self._data is not None:
            self._data.add_power_loss(self.order_next, lun, PowerLoss(frozenset(nexuses), dict(fates)))
        at_ns = self._clock()
        self._waiting += [pack_power_lost(self.order_next, nexus, lun, at_ns) for nexus in nexuses]
        for piece in lost:
            self._waiting.append(pack_placed(self.order_next, lun, piece, BY_POWER_LOSS))
            if self._data is not None:
                self._data.add(self.order_next, lun, piece, power_loss=True)

    def found(self, lun: int, piece: Piece) -> None:
        """Takes down what the medium holds and no command in the ledger has written, at the start of a target."""
        self._waiting.append(pack_placed(self.order_next, lun, piece, FOUND))
        if self._data is not None:
            self._data.add(self.order_next, lun, piece, found=True)

    def flush(self) -> None:
        """Hands all records to the kernel, and before them what data is kept. Raises ``LedgerLost`` (disk full)."""
        if not self._waiting:
            return
        if self._data is not None:
            try:
                self._data.flush()
            except OSError as error:
                raise LedgerLost(f"kept data {self._data.path} cannot be written: {error.strerror}") from error
        data = b"".join(self._waiting)
        self._waiting.clear()
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as error:
            raise LedgerLost(f"ledger {self.path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Ends the faults that are in force, flushes and releases the lock."""
        if self._fd < 0:
            return
        try:
            self._end_faults()
            self.flush()
        finally:
            os.close(self._fd)
            self._fd = -1
            if self._data is not None:
                self._data.close()


def _open(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"ledger {path} cannot be opened for writing: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UsageError(f"ledger {path} is in use by another target") from None
    return fd


def status_name(status: int) -> str:
    """``GOOD``, ``CHECK CONDITION``…; the number for what SAM-5 does not name."""
    try:
        return Status(status).name.replace("_", " ")
    except ValueError:
        return f"{status:02x}h"
