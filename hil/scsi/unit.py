"""A logical unit: looks a command up in the table, asks the reservations, then the faults, and runs it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from functools import partial
from typing import Final, Protocol

from hil.errors import UsageError
from hil.scsi.command import Command, Outcome, check_condition
from hil.scsi.faults.table import FaultTable
from hil.scsi.inquiry import inquiry
from hil.scsi.medium import Medium
from hil.scsi.operation import Operation
from hil.scsi.operations import OPERATIONS
from hil.scsi.persistent_reserve import CONFLICT
from hil.scsi.placement import Piece
from hil.scsi.primary_operations import report_luns, request_sense, take_attention
from hil.scsi.reservation_access import conflicts
from hil.scsi.reservation_file import ReservationFile
from hil.scsi.reservations import Change, Identity, State
from hil.scsi.sense import INVALID_OPERATION_CODE, UNIT_NOT_SUPPORTED, Refused, Sense
from hil.scsi.snapshot import Snapshot
from hil.scsi.volatile_cache import VolatileCache

_INSUFFICIENT_REGISTRATION_RESOURCES: Final = Sense(0x5, 0x55, 0x04)


class Peers(Protocol):
    """What a unit needs of its target: the other nexuses."""

    def tell(self, nexus: Identity, lun: int, sense: Sense) -> None:
        """Establishes a unit attention."""

    def tell_others(self, by: Identity, lun: int, sense: Sense) -> None:
        """Establishes a unit attention for every nexus but ``by``."""

    def abort_commands(self, nexus: Identity, lun: int, spare: Command) -> None:
        """Aborts all commands of ``nexus`` at ``lun`` but ``spare``; they are over when this returns."""

    def registration_ended(self, nexus: Identity, lun: int, key: int, by: Command) -> None:
        """For the ledger, before ``by`` itself is in it."""

    def port_number(self, portal: str) -> int:
        """The relative target port identifier."""


class LogicalUnit:
    """LUN ``lun`` of a target whose LUNs are ``luns`` (a live view, for REPORT LUNS).

    ``file`` keeps registrations over a restart; what it holds is in force from the beginning. Raises ``UsageError``
    when it is damaged.
    """

    def __init__(
        self,
        lun: int,
        medium: Medium,
        serial: str,
        luns: Collection[int],
        *,
        peers: Peers,
        faults: FaultTable,
        file: ReservationFile,
    ) -> None:
        self.lun = lun
        self.medium = medium
        self.serial = serial
        self.luns = luns
        self.blocks: int = medium.blocks
        self.peers = peers
        self.cache: VolatileCache | None = None
        self.keeps_data = False
        self._faults = faults
        self._file = file
        self._snapshots: list[Snapshot] = []
        self.observed = False
        self.reservations = State()
        self._reserved = False
        self.set_reservations(file.load())

    def data_out_length(self, command: Command) -> int:
        """Bytes that the command needs from its initiator. Raises ``Refused`` when it cannot succeed anyway."""
        operation = OPERATIONS.get(command.cdb[0])
        if operation is None or operation.data_out_length is None:
            return 0
        return operation.data_out_length(self, command)

    def execute(self, command: Command) -> Outcome | None:
        """Runs to its end at once, or (None) is held by a fault. Never raises ``Refused``.

        A conflict comes before a unit attention, which stays pending (SAM-5 5.3.3).
        """
        operation = OPERATIONS.get(command.cdb[0])
        try:
            if self._reserved and operation and conflicts(self.reservations, command.nexus.identity, command.cdb):
                self._note_extent(operation, command)
                return CONFLICT
            if command.nexus.attentions and not (operation and operation.despite_attention):
                attention = take_attention(command)
                if attention is not None:
                    raise Refused(attention)
            if operation is None:
                raise Refused(INVALID_OPERATION_CODE)
            if self._faults.armed:
                return self._strike(operation, command)
            return operation.execute(self, command)
        except Refused as refused:
            return check_condition(refused)

    def run(self, command: Command) -> Outcome:
        """Executes a command that a fault has struck: its reservations were asked when it came."""
        try:
            return OPERATIONS[command.cdb[0]].execute(self, command)
        except Refused as refused:
            return check_condition(refused)

    def _strike(self, operation: Operation, command: Command) -> Outcome | None:
        self._note_extent(operation, command)
        if not self._faults.find(command, operation):
            return operation.execute(self, command)
        return self._faults.execute(command, partial(self.run, command))

    def _note_extent(self, operation: Operation, command: Command) -> None:
        """Of a command that may not get as far as its operation: for the faults, and for the ledger."""
        note = operation.locate or operation.data_out_length
        if note is not None:
            with contextlib.suppress(Refused):
                note(self, command)

    # -- who looks at what is written ----------------------------------------------------------------------------

    def keep_data(self) -> None:
        """From now on commands note what they placed on the medium, whatever the faults."""
        self.keeps_data = True
        self._observe()

    def set_cache(self, cache: VolatileCache | None) -> None:
        """What is in a cache that goes away is stable."""
        self.cache = cache
        self._observe()

    def add_snapshot(self, snapshot: Snapshot) -> Snapshot:
        """It is told of every write before it happens."""
        self._snapshots.append(snapshot)
        self._observe()
        return snapshot

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        """It is told no more."""
        self._snapshots.remove(snapshot)
        self._observe()

    def _observe(self) -> None:
        self.observed = self.keeps_data or self.cache is not None or bool(self._snapshots)

    def prepare(self, lba: int, blocks: int) -> bytes:
        """These blocks are about to change; what they hold now, if the cache wants it. Raises ``OSError``."""
        for snapshot in self._snapshots:
            snapshot.save(lba, blocks)
        return b"" if self.cache is None else self.medium.read(lba, blocks)

    def written(self, owner: int, piece: Piece, before: bytes) -> None:
        """``piece`` has reached the medium, ``before`` is what ``prepare`` gave."""
        if self.cache is not None:
            self.cache.write(owner, piece.lba, before, bytes(piece.content()))

    # -- reservations --------------------------------------------------------------------------------------------

    def set_reservations(self, state: State) -> None:
        """The one place where they change."""
        self.reservations = state
        self._reserved = state.type is not None or state.reserved_by is not None

    def restore(self, state: State, *, write_protected: bool) -> None:
        """As it was at a checkpoint. Raises ``UsageError`` when registrations cannot be saved."""
        try:
            self._file.save(state)
        except OSError as error:
            raise UsageError(f"reservations file {self._file.path} cannot be written: {error.strerror}") from None
        self.set_reservations(state)
        self.medium.write_protected = write_protected

    def change_reservations(self, change: Change, command: Command) -> None:
        """Everything that goes with ``change``, in this order: saved, in force, aborted, recorded, told.

        Aborted before told and before the answer: who asked for PREEMPT AND ABORT may rely on it that no command of
        the preempted nexus reaches the medium after the answer. Raises ``Refused`` when it cannot be saved.
        """
        before, after = self.reservations, change.state
        if (before.aptpl or after.aptpl) and before != after:
            try:
                self._file.save(after)
            except OSError:
                raise Refused(_INSUFFICIENT_REGISTRATION_RESOURCES) from None
        self.set_reservations(after)
        for nexus in change.aborted:
            self.peers.abort_commands(nexus, self.lun, command)
        for nexus in change.removed:
            self.peers.registration_ended(nexus, self.lun, before.keys[nexus], command)
        for nexus, sense in change.told:
            self.peers.tell(nexus, self.lun, sense)


def execute_without_unit(luns: Collection[int], command: Command) -> Outcome:
    """A command for a LUN that does not exist (SPC-4 6.6.2, 6.33, 6.39; SAM-5 5.11)."""
    code = command.cdb[0]
    try:
        if code == 0x12:
            return inquiry(None, command)
        if code == 0xA0:
            return report_luns(luns, command)
        if code == 0x03:
            return request_sense(None, command)
        raise Refused(UNIT_NOT_SUPPORTED)
    except Refused as refused:
        return check_condition(refused)
