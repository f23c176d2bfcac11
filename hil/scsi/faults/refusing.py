"""Kinds of fault that refuse: error and offline (refuse-login is asked for by the table, of no command)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hil.scsi.command import Command, Outcome, check_condition
from hil.scsi.operation import Direction
from hil.scsi.sense import (
    INTERNAL_TARGET_FAILURE,
    MEDIUM_READ_ERROR,
    MEDIUM_WRITE_ERROR,
    NOT_READY,
    OFFLINE,
    Refused,
    Sense,
    Status,
)

if TYPE_CHECKING:
    from hil.scsi.faults.fault import Fault, Run
    from hil.scsi.faults.table import FaultTable

SENSES: Final[dict[str, Sense | None]] = {
    "medium": None,  # which of two depends on the direction
    "hardware": INTERNAL_TARGET_FAILURE,
    "not-ready": NOT_READY,
}
BUSY: Final = "busy"


def error(table: FaultTable, fault: Fault, command: Command, run: Run) -> Outcome:
    """A medium error names the first block that is in the selection's range (SPC-4 4.5.2)."""
    sort = fault.values["sense"]
    if sort == BUSY:
        return Outcome(Status.BUSY)
    sense = SENSES[str(sort)]
    if sense is not None:
        return check_condition(Refused(sense))
    first = command.lba if fault.selection.lba is None else max(command.lba, fault.selection.lba[0])
    reads = command.direction is Direction.READ
    return check_condition(Refused(MEDIUM_READ_ERROR if reads else MEDIUM_WRITE_ERROR, first))


def offline(table: FaultTable, fault: Fault, command: Command, run: Run) -> Outcome:
    """LOGICAL UNIT NOT READY, OFFLINE (SPC-4 table F.1)."""
    return check_condition(Refused(OFFLINE))
