"""The target: its logical units, who may come in where, which nexuses exist and which session each of them has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from hil.scsi.command import Command, Nexus, Outcome
from hil.scsi.iscsi.login import LoginRefused, LoginStatus
from hil.scsi.sense import COMMANDS_CLEARED, LUN_RESET, NEXUS_LOSS, POWER_ON, Sense
from hil.scsi.unit import LogicalUnit, execute_without_unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.scsi.ledger import Ledger
    from hil.scsi.medium import Medium

TARGET_NAME: Final = "iqn.2026-11.hil:shared"
_NEXUSES_MAX: Final = 4096  # a portal open to any initiator would otherwise let names fill the memory


class Portal(NamedTuple):
    """Where the target listens; ``initiator`` is the one name that may log in there, None: any."""

    host: str
    port: int
    initiator: str | None

    @property
    def address(self) -> str:
        """``host:port``, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NexusSession(Protocol):
    """What the target needs of a session."""

    nexus: Nexus | None

    def abort_tasks(self, lun: int | None) -> int:
        """Aborts what has not finished (at one LUN or all), without answers; returns how many."""

    def end(self, reason: str) -> None:
        """Aborts everything and drops the connection at once."""


class Target:
    """All sessions share it; runs in one thread."""

    def __init__(self, name: str = TARGET_NAME, ledger: Ledger | None = None) -> None:
        self.name = name
        self.ledger = ledger
        self.units: dict[int, LogicalUnit] = {}
        self.nexuses: dict[tuple[str, str], Nexus] = {}
        self.sessions: dict[Nexus, NexusSession] = {}
        self._tsih = 0

    def add_unit(self, lun: int, medium: Medium, serial: str) -> LogicalUnit:
        """Makes ``medium`` available as LUN ``lun``."""
        unit = self.units[lun] = LogicalUnit(lun, medium, serial, self.units.keys())
        return unit

    def nexus(self, initiator: str, portal: Portal) -> Nexus:
        """The nexus of these two, new at its first mention; a new one is to be told that the target was powered on."""
        key = (initiator, portal.address)
        nexus = self.nexuses.get(key)
        if nexus is None:
            index = self.ledger.nexus(*key) if self.ledger else len(self.nexuses)
            nexus = self.nexuses[key] = Nexus(index, *key)
            nexus.attentions = {lun: [POWER_ON] for lun in self.units}
        return nexus

    def next_tsih(self) -> int:
        """A target session identifying handle, 1 to 65535."""
        self._tsih = self._tsih % 0xFFFF + 1
        return self._tsih

    def admit(self, portal: Portal, initiator: str, target: str | None) -> None:
        """Raises ``LoginRefused``: wrong initiator here, no such target (None: discovery), too many names."""
        if portal.initiator is not None and initiator != portal.initiator:
            raise LoginRefused(
                LoginStatus.NOT_AUTHORISED,
                f"initiator {initiator} at portal {portal.address}: only {portal.initiator} is legal",
            )
        if target is not None and target != self.name:
            raise LoginRefused(LoginStatus.TARGET_NOT_FOUND, f"target {target}: only {self.name} exists")
        if len(self.nexuses) >= _NEXUSES_MAX and (initiator, portal.address) not in self.nexuses:
            raise LoginRefused(LoginStatus.OUT_OF_RESOURCES, f"more than {_NEXUSES_MAX} initiators")

    def attach(self, nexus: Nexus, session: NexusSession) -> None:
        """``session`` is the nexus' one from now on; an earlier one ends, and its commands are aborted first."""
        before = self.sessions.get(nexus)
        if before is not None:
            before.end("replaced by a new login of the same initiator at the same portal")
        self.sessions[nexus] = session

    def detach(self, nexus: Nexus, session: NexusSession) -> None:
        """``session`` has ended; the initiator is told at its next command that the nexus was lost (SAM-5 6.3.4)."""
        if self.sessions.get(nexus) is session:
            del self.sessions[nexus]
        for lun in self.units:
            self._attention(nexus, lun, NEXUS_LOSS)

    def execute(self, command: Command) -> Outcome:
        """Runs a command to its end."""
        unit = self.units.get(command.lun)
        return execute_without_unit(self.units.keys(), command) if unit is None else unit.execute(command)

    def data_out_length(self, command: Command) -> int:
        """Bytes that the command needs from its initiator. Raises ``Refused``."""
        unit = self.units.get(command.lun)
        return 0 if unit is None else unit.data_out_length(command)

    def record(self, nexus: Nexus, command: Command, outcome: Outcome) -> None:
        """Takes a finished command down in the ledger, if there is one."""
        if self.ledger is not None:
            self.ledger.record(nexus, command, outcome)

    def clear_tasks(self, lun: int, by: Nexus) -> None:
        """CLEAR TASK SET (SAM-5 7.4): aborts the commands of all nexuses at ``lun`` and tells those that lost any."""
        self._abort(lambda session: bool(session.abort_tasks(lun)), lun, by, COMMANDS_CLEARED)

    def reset_unit(self, lun: int, by: Nexus) -> None:
        """LOGICAL UNIT RESET (SAM-5 6.3.3): aborts all commands at ``lun`` and tells every nexus but the asking one."""
        self._abort(lambda session: session.abort_tasks(lun) >= 0, lun, by, LUN_RESET)

    def reset(self, by: Nexus) -> None:
        """TARGET WARM RESET: every logical unit is reset."""
        for lun in self.units:
            self.reset_unit(lun, by)

    def _abort(self, abort: Callable[[NexusSession], bool], lun: int, by: Nexus, sense: Sense) -> None:
        for nexus, session in list(self.sessions.items()):
            if abort(session) and nexus is not by:
                self._attention(nexus, lun, sense)

    def _attention(self, nexus: Nexus, lun: int, sense: Sense) -> None:
        waiting = nexus.attentions.setdefault(lun, [])
        if sense not in waiting and POWER_ON not in waiting:
            waiting.append(sense)
