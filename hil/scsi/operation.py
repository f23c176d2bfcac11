"""What a row of the table of operations says; the table itself is in ``operations``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from hil.scsi.sense import invalid_field

if TYPE_CHECKING:
    from hil.scsi.command import Command, Outcome
    from hil.scsi.unit import LogicalUnit

Execute = Callable[["LogicalUnit", "Command"], "Outcome"]


class Direction(StrEnum):
    """What a command does with the medium; faults are chosen by it."""

    READ = "read"
    WRITE = "write"
    FLUSH = "flush"  # SYNCHRONIZE CACHE
    RESERVE = "reserve"  # PERSISTENT RESERVE IN and OUT, RESERVE, RELEASE
    OTHER = "other"


class ServiceAction(NamedTuple):
    """One service action of an operation code. ``execute`` is None where the operation tells them apart itself."""

    name: str
    usage: str
    execute: Execute | None = None


class Operation(NamedTuple):
    """A row. ``data_out_length`` is None where the command takes no data from its initiator. ``locate`` notes the
    extent of a command that is about one, where ``data_out_length`` does not do that already.

    ``despite_attention``: executed although a unit attention is pending (SAM-5 5.14: INQUIRY, REPORT LUNS, REQUEST
    SENSE). ``usage``: CDB usage data (SPC-4 6.35.3) in hexadecimal, a set bit being one that is looked at, and the
    operation code (and service action) itself; an operation with ``actions`` has one for each of these instead.
    """

    name: str
    execute: Execute
    data_out_length: Callable[[LogicalUnit, Command], int] | None = None
    despite_attention: bool = False
    direction: Direction = Direction.OTHER
    usage: str = ""
    actions: Mapping[int, ServiceAction] | None = None
    locate: Callable[[LogicalUnit, Command], object] | None = None


def by_service_action(name: str, actions: Mapping[int, ServiceAction]) -> Operation:
    """The row of an operation code whose service actions each have a function of their own."""

    def execute(unit: LogicalUnit, command: Command) -> Outcome:
        action = actions.get(command.cdb[1] & 0x1F)
        if action is None or action.execute is None:
            raise invalid_field(1, 4)
        return action.execute(unit, command)

    return Operation(name, execute, actions=actions)
