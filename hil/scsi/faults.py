"""Faults of the disk: a table of those that are injected now, asked once per command while there are any.

A kind of fault is a row of ``KINDS`` and one function, which stands where the command would be executed: after the
reservations were asked, before the medium is touched. It gets a function that executes, and may call it, or not, or
with other data; it returns how the command ends, or None for a command that is held. A held command ends when the
fault is healed (it is executed then, without being asked again who may) or when it is aborted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hil.errors import UsageError
from hil.scsi.command import Command, Outcome
from hil.scsi.sense import Status

if TYPE_CHECKING:
    from collections.abc import Callable

HELD_BYTES_MAX: Final = 64 * 1024 * 1024  # the data of all held commands; beyond, TASK SET FULL
_FAULTS_MAX: Final = 256


class Selection(NamedTuple):
    """Which commands a fault is for; None: whatever."""

    initiator: str | None = None
    portal: str | None = None
    lun: int | None = None

    def hits(self, command: Command) -> bool:
        """Whether ``command`` is one of them."""
        nexus = command.nexus
        return (
            (self.initiator is None or self.initiator == nexus.initiator)
            and (self.portal is None or self.portal == nexus.portal)
            and (self.lun is None or self.lun == command.lun)
        )


class Fault:
    """One injected fault. ``left`` commands it will still strike (None: all, until it is healed); ``struck`` so far."""

    def __init__(self, number: int, name: str, selection: Selection, count: int | None) -> None:
        self.number = number
        self.name = name
        self.selection = selection
        self.left = count
        self.struck = 0
        self.held: dict[Command, None] = {}


class Kind(NamedTuple):
    """A row: what it does, and whether to writes only."""

    strike: Callable[[FaultTable, Fault, Command, Callable[[], Outcome]], Outcome | None]
    writes_only: bool


class FaultTable:
    """``armed`` are the faults that can still strike, oldest first; empty on a healthy disk."""

    def __init__(self) -> None:
        self.faults: dict[int, Fault] = {}
        self.armed: list[Fault] = []
        self.held_bytes = 0
        self._number = 0

    def inject(self, name: str, selection: Selection, count: int | None = None) -> Fault:
        """From now on; the first of ``count`` commands is the next one that it is for. Raises ``UsageError``."""
        if name not in KINDS:
            raise UsageError(f"fault {name!r} does not exist: {', '.join(sorted(KINDS))} are legal")
        if count is not None and count < 1:
            raise UsageError(f"fault {name} with count {count}: 1 or more is legal, or none at all for every command")
        if len(self.faults) >= _FAULTS_MAX:
            raise UsageError(f"{_FAULTS_MAX} faults are injected already: heal some")
        self._number += 1
        fault = self.faults[self._number] = Fault(self._number, name, selection, count)
        self.armed.append(fault)
        return fault

    def find(self, command: Command, *, writes: bool) -> Fault | None:
        """The oldest fault for ``command``, which is thereby struck."""
        for fault in self.armed:
            if fault.selection.hits(command) and (writes or not KINDS[fault.name].writes_only):
                fault.struck += 1
                if fault.left is not None:
                    fault.left -= 1
                    if not fault.left:
                        self.armed.remove(fault)
                command.fault = fault
                return fault
        return None

    def strike(self, fault: Fault, command: Command, run: Callable[[], Outcome]) -> Outcome | None:
        """Instead of ``run``; None: held."""
        return KINDS[fault.name].strike(self, fault, command, run)

    def heal(self, number: int | None) -> list[Command]:
        """Ends one fault or (None) all; the commands that they held, in their order. Raises ``UsageError``."""
        if number is not None and number not in self.faults:
            raise UsageError(f"fault {number} does not exist: {sorted(self.faults) or 'none'} are injected now")
        healed = list(self.faults.values()) if number is None else [self.faults[number]]
        held = []
        for fault in healed:
            del self.faults[fault.number]
            if fault in self.armed:
                self.armed.remove(fault)
            held += list(fault.held)
        for command in held:
            self.let_go(command)
        return sorted(held, key=lambda command: command.arrival_ns)

    def let_go(self, command: Command) -> bool:
        """``command`` is held no longer, because it is to be executed or was aborted; whether it was held."""
        if command.fault is None or command not in command.fault.held:
            return False
        del command.fault.held[command]
        self.held_bytes -= len(command.data)
        return True


def _delay(table: FaultTable, fault: Fault, command: Command, run: Callable[[], Outcome]) -> Outcome | None:
    """Queued, and applied later unless aborted."""
    if table.held_bytes + len(command.data) > HELD_BYTES_MAX:
        return Outcome(Status.TASK_SET_FULL)
    command.data = bytes(command.data)
    table.held_bytes += len(command.data)
    fault.held[command] = None
    return None


KINDS: Final = {
    "delay-writes": Kind(_delay, writes_only=True),
}
