"""A logical unit: looks a command up in the table and runs it. Faults and reservations go between lookup and run."""

from __future__ import annotations

from collections.abc import Collection

from hil.scsi.command import Command, Outcome, check_condition
from hil.scsi.inquiry import inquiry
from hil.scsi.medium import Medium
from hil.scsi.operations import OPERATIONS
from hil.scsi.primary_operations import report_luns, request_sense, take_attention
from hil.scsi.sense import INVALID_OPERATION_CODE, UNIT_NOT_SUPPORTED, Refused


class LogicalUnit:
    """LUN ``lun`` of a target whose LUNs are ``luns`` (a live view, for REPORT LUNS)."""

    def __init__(self, lun: int, medium: Medium, serial: str, luns: Collection[int]) -> None:
        self.lun = lun
        self.medium = medium
        self.serial = serial
        self.luns = luns
        self.blocks: int = medium.blocks

    def data_out_length(self, command: Command) -> int:
        """Bytes that the command needs from its initiator. Raises ``Refused`` when it cannot succeed anyway."""
        operation = OPERATIONS.get(command.cdb[0])
        if operation is None or operation.data_out_length is None:
            return 0
        return operation.data_out_length(self, command)

    def execute(self, command: Command) -> Outcome:
        """Runs to its end at once; never raises ``Refused``."""
        operation = OPERATIONS.get(command.cdb[0])
        try:
            if command.nexus.attentions and not (operation and operation.despite_attention):
                attention = take_attention(command)
                if attention is not None:
                    raise Refused(attention)
            if operation is None:
                raise Refused(INVALID_OPERATION_CODE)
            return operation.execute(self, command)
        except Refused as refused:
            return check_condition(refused)


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
