"""The faults in force, and the commands that wait in them. Asked once per command while there are any."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from hil.errors import UsageError
from hil.scsi.command import Command, Outcome
from hil.scsi.faults.fault import Fault, Kind, Run
from hil.scsi.faults.kinds import KINDS, REFUSE_LOGIN
from hil.scsi.faults.parameters import resolve
from hil.scsi.operation import Operation
from hil.scsi.sense import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hil.scsi.faults.selection import Selection
    from hil.scsi.unit import LogicalUnit

HELD_BYTES_MAX: Final = 64 * 1024 * 1024  # the data of all held commands; beyond, TASK SET FULL
_FAULTS_MAX: Final = 256
_SECONDS_MAX: Final = 24 * 3600.0


class Timer(Protocol):
    """What ``Timers.call_later`` returns."""

    def cancel(self) -> None:
        """Too late is fine."""


class Timers(Protocol):
    """An asyncio event loop, or a test's."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """Calls it once, ``delay`` seconds from now."""


class Observer(Protocol):
    """Who is told of faults; the target, for its ledger and for who listens at its control socket."""

    def fault_injected(self, fault: Fault) -> None:
        """It is in force from the next command on."""

    def fault_struck(self, fault: Fault) -> None:
        """For the first time."""

    def fault_healed(self, fault: Fault, why: str) -> None:
        """It is over: ``asked``, ``time`` or ``count``."""

    def drop_connection(self, command: Command, reason: str) -> None:
        """The connection that ``command`` came by ends right after what is being done now, if it is still there."""


class FaultTable:
    """``armed`` are the faults that can still strike a command, oldest first; empty on a healthy disk."""

    def __init__(
        self,
        observer: Observer,
        units: Mapping[int, LogicalUnit],
        timers: Timers | None = None,
        *,
        number_next: int = 1,
    ) -> None:
        self.faults: dict[int, Fault] = {}
        self.armed: list[Fault] = []
        self.held_bytes = 0
        self.timers = timers
        self._observer = observer
        self._units = units
        self._number_next = number_next
        self._expiry: dict[int, Timer] = {}
        self._releases: dict[Command, Timer] = {}
        self._unfinished: dict[Command, None] = {}  # struck, and being executed or held

    def inject(
        self,
        name: str,
        selection: Selection,
        count: int | None = None,
        seconds: float | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Fault:
        """From now on; the first of ``count`` commands is the next one that it is for. Raises ``UsageError``."""
        kind = KINDS.get(name)
        if kind is None:
            raise UsageError(f"fault {name!r} does not exist: {', '.join(KINDS)} are legal")
        values = resolve(name, kind.parameters, parameters or {})
        selection = self._check(name, kind, selection, count, seconds)
        fault = Fault(self._number_next, name, kind, selection, values, count)
        fault.seconds = seconds
        if kind.begin is not None:
            try:
                kind.begin(fault, self._units_of(fault))
            except OSError as error:
                raise UsageError(f"fault {name}: the host has no room for what it needs: {error.strerror}") from None
        self._number_next += 1
        self.faults[fault.number] = fault
        if kind.directions:
            self.armed.append(fault)
        self._observer.fault_injected(fault)
        if seconds is not None:
            self._expiry[fault.number] = self.later(seconds, partial(self._expire, fault))
        return fault

    def _check(
        self, name: str, kind: Kind, selection: Selection, count: int | None, seconds: float | None
    ) -> Selection:
        """The selection with the directions that the kind has when none are named."""
        if count is not None and count < 1:
            raise UsageError(f"fault {name} with count {count}: 1 or more is legal, or none at all for every command")
        if seconds is not None and not 0 < seconds <= _SECONDS_MAX:
            raise UsageError(f"fault {name} for {seconds} seconds: more than 0, up to {_SECONDS_MAX:.0f} are legal")
        if self.timers is None and (seconds is not None or kind.timed):
            raise UsageError(f"fault {name} takes time: it needs a target that runs")
        if selection.lba is not None and not 0 <= selection.lba[0] <= selection.lba[1]:
            raise UsageError(f"fault {name}: LBA {selection.lba[0]} to {selection.lba[1]} is no range")
        if len(self.faults) >= _FAULTS_MAX:
            raise UsageError(f"{_FAULTS_MAX} faults are injected already: heal some")
        if not kind.directions and (selection.directions or selection.lba or (count and name != REFUSE_LOGIN)):
            raise UsageError(f"fault {name} strikes no commands: direction, lba and count have no meaning")
        if name == REFUSE_LOGIN and selection.lun is not None:
            raise UsageError(f"fault {name} of LUN {selection.lun}: a login is for all of them")
        wrong = sorted((selection.directions or frozenset()) - kind.directions)
        if wrong:
            legal = ", ".join(sorted(kind.directions))
            raise UsageError(f"fault {name} of direction {', '.join(wrong)}: {legal} are legal")
        if any(name == other.name == "volatile-cache" for other in self.faults.values()):
            raise UsageError("fault volatile-cache is injected already: heal it first")
        if selection.directions is None and kind.directions:
            return selection._replace(directions=kind.usual or kind.directions)
        return selection

    def _units_of(self, fault: Fault) -> list[LogicalUnit]:
        lun = fault.selection.lun
        return [unit for number, unit in self._units.items() if lun in (None, number)]

    # -- commands ------------------------------------------------------------------------------------------------

    def find(self, command: Command, operation: Operation) -> list[Fault]:
        """The faults for ``command``, oldest first, which is thereby struck; its extent must have been noted."""
        found = [
            fault
            for fault in self.armed
            if fault.selection.hits(command, operation.direction)
            and not (fault.kind.spares_identity and operation.despite_attention)
        ]
        command.faults = found
        command.direction = operation.direction
        if found:
            self._unfinished[command] = None
        for fault in found:
            self._count(fault)
        return found

    def execute(self, command: Command, run: Run) -> Outcome | None:
        """``run`` as the faults of the command let it; None: held."""
        for fault in reversed(command.faults):
            strike = fault.kind.strike
            if strike is not None:
                run = partial(strike, self, fault, command, run)
        outcome = run()
        if outcome is not None:
            self._finish(command)
        return outcome

    def refuses_login(self, initiator: str, portal: str) -> Fault | None:
        """The fault that keeps this initiator out, which has thereby struck."""
        for fault in self.faults.values():
            if fault.name == REFUSE_LOGIN and fault.left != 0 and fault.selection.names(initiator, portal):
                self._count(fault)
                return fault
        return None

    def _count(self, fault: Fault) -> None:
        fault.struck += 1
        if fault.struck == 1:
            self._observer.fault_struck(fault)
        if fault.left is None:
            return
        fault.left -= 1
        if not fault.left:
            if fault in self.armed:
                self.armed.remove(fault)
            if not fault.kind.holds:  # one that does is over when the last command that it struck is
                self._end(fault, "count")

    # -- commands that wait --------------------------------------------------------------------------------------

    def hold(self, fault: Fault, command: Command, run: Run) -> Outcome | None:
        """``run`` is called when ``command`` is released, or now when ``fault`` is over, for nobody would release it.

        An outcome when there is no room.
        """
        if fault.number not in self.faults:
            return run()
        if self.held_bytes + len(command.data) > HELD_BYTES_MAX:
            return Outcome(Status.TASK_SET_FULL)
        command.data = bytes(command.data)  # it was in the buffer of its connection
        self.held_bytes += len(command.data)
        fault.held[command] = run
        command.holder = fault
        return None

    def let_go(self, command: Command) -> None:
        """``command`` is aborted: held no longer, and not executed."""
        self._let_go(command)
        self._finish(command)

    def _let_go(self, command: Command) -> Run | None:
        """What goes on with it, None when it was not held."""
        fault, command.holder = command.holder, None
        if fault is None:
            return None
        self.held_bytes -= len(command.data)
        timer = self._releases.pop(command, None)
        if timer is not None:
            timer.cancel()
        return fault.held.pop(command)

    def release(self, command: Command, fault: Fault) -> None:
        """``command`` goes on, unless ``fault`` does not hold it any more."""
        if command.holder is not fault:
            return
        run = self._let_go(command)
        if run is not None and command.resume is not None:
            command.resume(run)

    def executed(self, command: Command) -> None:
        """``command`` was released, and has come to its end."""
        self._finish(command)

    def _finish(self, command: Command) -> None:
        """``command`` is over, and what struck it may be so for good."""
        if command in self._unfinished:
            del self._unfinished[command]
            for fault in command.faults:
                if fault.number not in self.faults:
                    self._give_back(fault)
                elif fault.left == 0 and not self._is_awaited(fault):
                    self._end(fault, "count")

    def _is_awaited(self, fault: Fault) -> bool:
        return any(fault in command.faults for command in self._unfinished)

    def outlives(self, command: Command) -> bool:
        """Whether ``command`` is held, and stays so when its session ends."""
        return command.holder is not None and command.holder.kind.outlives

    def held(self) -> list[Command]:
        """All that wait, in the order in which they came."""
        waiting = [command for fault in self.faults.values() for command in fault.held]
        return sorted(waiting, key=lambda command: command.arrival_ns)

    # -- the end of a fault --------------------------------------------------------------------------------------

    def heal(self, numbers: int | Sequence[int] | None) -> int:
        """Ends one fault, several, or (None) all; what they held goes on, in its order. How many.

        Raises ``UsageError`` for one that does not exist, before any has ended.
        """
        chosen = sorted(self.faults) if numbers is None else [numbers] if isinstance(numbers, int) else list(numbers)
        for number in chosen:
            if number not in self.faults:
                raise UsageError(f"fault {number} does not exist: {sorted(self.faults) or 'none'} are injected now")
        healed = [self.faults[number] for number in dict.fromkeys(chosen)]
        for fault in healed:
            self._end(fault, "asked")
        return self._release_all(healed)

    def _expire(self, fault: Fault) -> None:
        if fault.number in self.faults:
            self._end(fault, "time")
            self._release_all([fault])

    def _end(self, fault: Fault, why: str) -> None:
        del self.faults[fault.number]
        if fault in self.armed:
            self.armed.remove(fault)
        expiry = self._expiry.pop(fault.number, None)
        if expiry is not None:
            expiry.cancel()
        self._give_back(fault)
        self._observer.fault_healed(fault, why)

    def _give_back(self, fault: Fault) -> None:
        """What ``fault`` needed of its units, when it is over and no command that it struck is still to be executed."""
        if fault.kind.end is not None and not fault.has_ended and not self._is_awaited(fault):
            fault.has_ended = True
            fault.kind.end(fault, self._units_of(fault))

    def _release_all(self, faults: list[Fault]) -> int:
        held = [(command, fault) for fault in faults for command in fault.held]
        for command, fault in sorted(held, key=lambda pair: pair[0].arrival_ns):
            self.release(command, fault)
        return len(held)

    def release_later(self, delay_s: float, command: Command, fault: Fault) -> None:
        """``command`` goes on after ``delay_s`` seconds, unless ``fault`` does not hold it any more by then."""
        self._releases[command] = self.later(delay_s, partial(self.release, command, fault))

    def later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Of a fault that takes time."""
        assert self.timers is not None, "inject has refused it"
        return self.timers.call_later(delay_s, callback)

    def drop_connection(self, command: Command, reason: str) -> None:
        """For ``reset``."""
        self._observer.drop_connection(command, reason)
