"""Whether the ledger names, of every command, the faults that were in force for it: all of them and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hil.scsi.faults.kinds import KINDS
from hil.scsi.ledger import Entry
from hil.scsi.ledger_records import FaultInjected
from hil.scsi.operations import OPERATIONS
from hil.scsi.sense import Status

_UNIT_ATTENTION = 0x6


def is_for(about: Mapping[str, Any], nexus: tuple[str, str], opcode: int, lba: int, blocks: int) -> bool:
    """Whether a fault, as the ledger describes it, is for this command at LUN 0 of initiator name and portal."""
    bounds = about["lba"]
    return (
        about["initiator"] in (None, nexus[0])
        and about["portal"] in (None, nexus[1])
        and about["lun"] in (None, 0)
        and OPERATIONS[opcode].direction.value in about["directions"]
        and (bounds is None or (lba <= bounds[1] and bounds[0] < lba + blocks))
    )


class Strikes:
    """``numbers``: those that can strike commands and are in force."""

    def __init__(self) -> None:
        self.numbers: dict[int, FaultInjected] = {}

    def begin(self, record: FaultInjected) -> None:
        """It is in force."""
        if KINDS[record.about["fault"]].directions:
            self.numbers[record.number] = record

    def over(self, number: int) -> None:
        """It strikes no more."""
        self.numbers.pop(number, None)

    def check(self, entry: Entry, known: Mapping[int, Mapping[str, Any]]) -> None:
        """Raises ``AssertionError``."""
        assert entry.lun == 0, entry
        nexus = entry.nexus.initiator, entry.nexus.portal
        command = nexus, entry.opcode, entry.lba, entry.blocks
        for number in entry.faults:
            assert is_for(known[number], *command), f"{entry} was struck by {known[number]}, which is not for it"
        if entry.status == Status.TASK_ABORTED or entry.sense.key == _UNIT_ATTENTION:
            return  # may never have got as far as the faults
        for number, record in self.numbers.items():
            # One with a count stops when it is used up, which is told no sooner than the last one it holds goes on.
            if record.about["left"] is None and entry.arrival_ns > record.time_ns and is_for(record.about, *command):
                assert number in entry.faults, f"{entry} was not struck by {record}"
