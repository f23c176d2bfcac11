"""The target: its logical units, who may come in where, which nexuses exist and which session each of them has."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from hil.scsi.command import ABORTED, Command, Nexus, Outcome
from hil.scsi.fault_events import FaultEvents
from hil.scsi.faults.cache import power_failure
from hil.scsi.faults.kinds import VOLATILE_CACHE
from hil.scsi.faults.table import FaultTable
from hil.scsi.iscsi.login import LoginRefused, LoginStatus
from hil.scsi.reservation_file import ReservationFile
from hil.scsi.reservations import Identity, end_reserve_6
from hil.scsi.sense import COMMANDS_CLEARED, LUN_RESET, NEXUS_LOSS, POWER_ON, Sense
from hil.scsi.unit import LogicalUnit, execute_without_unit

if TYPE_CHECKING:
    from collections.abc import Collection

    from hil.scsi.faults.fault import Fault, Run
    from hil.scsi.ledger import Ledger
    from hil.scsi.medium import Medium

TARGET_NAME: Final = "iqn.2026-11.hil:shared"
LUN_MARK: Final = ":lun"
"""Between the target's name and the number of a LUN: the name under which that LUN has a session of its own."""
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

    def reached_from(self, host: str) -> str:
        """``address`` for an initiator that has a connection to ``host``; that is where it reaches a wildcard, too."""
        return (self._replace(host=host) if self.host in ("0.0.0.0", "::") else self).address


class NexusSession(Protocol):
    """What the target needs of a session."""

    nexus: Nexus | None

    def commands_under_way(self) -> int:
        """How many have not finished."""

    def abort_tasks(self, lun: int | None, spare: Command | None = None) -> int:
        """Aborts what has not finished (at one LUN or all) but ``spare``, without answers; returns how many."""

    def end(self, reason: str) -> None:
        """Aborts everything and drops the connection at once; nothing, when that has happened."""


class Target:
    """All sessions share it; runs in one thread.

    ``sessions``: the one of each nexus. ``of_luns``: an initiator such as QEMU has a session for each of its disks, all
    of them of one nexus; each logs in under the target's name of that LUN (:meth:`lun_of`), and is replaced by the next
    one under the same name only.
    """

    def __init__(self, name: str = TARGET_NAME, ledger: Ledger | None = None) -> None:
        self.name = name
        self.ledger = ledger
        self.units: dict[int, LogicalUnit] = {}
        self.events = FaultEvents(ledger)
        self.faults = FaultTable(self, self.units, number_next=ledger.fault_next if ledger is not None else 1)
        self.portals: list[Portal] = []
        self.ports: list[str] = []
        self.nexuses: dict[Identity, Nexus] = {}
        self.sessions: dict[Nexus, NexusSession] = {}
        self.of_luns: dict[tuple[Nexus, int], NexusSession] = {}
        self._tsih = 0
        self._orphans: dict[Command, None] = {}

    def add_unit(self, lun: int, medium: Medium, serial: str, reservations: str | None = None) -> LogicalUnit:
        """Makes ``medium`` available as LUN ``lun``.

        Registrations that are to survive a restart are in the file ``reservations`` (None: beside the medium). Raises
        ``UsageError`` when it is damaged.
        """
        file = ReservationFile(reservations or f"{medium.path}.reservations")
        unit = LogicalUnit(lun, medium, serial, self.units.keys(), peers=self, faults=self.faults, file=file)
        if self.ledger is not None and self.ledger.keeps_data:
            unit.keep_data()
        self.units[lun] = unit
        return unit

    def add_portal(self, portal: Portal) -> None:
        """``portal`` listens."""
        self.portals.append(portal)
        self.port_number(portal.address)

    def portals_for(self, initiator: str) -> list[Portal]:
        """Those where ``initiator`` may log in."""
        return [portal for portal in self.portals if portal.initiator in (None, initiator)]

    def port_number(self, portal: str) -> int:
        """The relative target port identifier of the portal at this address, from 1; new at its first mention.

        Every portal is a portal group of its own, with this number as its tag (RFC 7143 4.4.1, 13.9).
        """
        if portal not in self.ports:
            self.ports.append(portal)
        return self.ports.index(portal) + 1

    def nexus(self, initiator: str, portal: Portal) -> Nexus:
        """The nexus of these two, new at its first mention; a new one is to be told that the target was powered on."""
        key = (initiator, portal.address)
        nexus = self.nexuses.get(key)
        if nexus is None:
            self.port_number(portal.address)
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
        if target is not None and target != self.name and self.lun_of(target) is None:
            raise LoginRefused(LoginStatus.TARGET_NOT_FOUND, f"target {target}: only {self.name} exists")
        fault = self.faults.refuses_login(initiator, portal.address)
        if fault is not None:
            raise LoginRefused(LoginStatus.SERVICE_UNAVAILABLE, f"fault {fault.number}, {fault.name}")
        if len(self.nexuses) >= _NEXUSES_MAX and (initiator, portal.address) not in self.nexuses:
            raise LoginRefused(LoginStatus.OUT_OF_RESOURCES, f"more than {_NEXUSES_MAX} initiators")

    def lun_of(self, name: str | None) -> int | None:
        """The LUN whose name for a login that is; None: it is the target's own name, or none of its names."""
        prefix, _, number = (name or "").rpartition(LUN_MARK)
        known = prefix == self.name and number.isascii() and number.isdecimal() and int(number) in self.units
        return int(number) if known and number == str(int(number)) else None

    def attach(self, nexus: Nexus, session: NexusSession, lun: int | None = None) -> None:
        """``session`` is the nexus' one from now on; an earlier one ends, and its commands are aborted first.

        ``lun``: only the one for that LUN.
        """
        before = self.sessions.get(nexus) if lun is None else self.of_luns.get((nexus, lun))
        if before is not None:
            before.end("replaced by a new login of the same initiator at the same portal")
            self._end_reserve_6(nexus, lun)
        if lun is None:
            self.sessions[nexus] = session
        else:
            self.of_luns[nexus, lun] = session

    def detach(self, nexus: Nexus, session: NexusSession) -> None:
        """``session`` has ended; the initiator is told at its next command that the nexus was lost (SAM-5 6.3.4)."""
        of_lun = next((lun for (whose, lun), one in self.of_luns.items() if whose is nexus and one is session), None)
        if of_lun is not None:
            del self.of_luns[nexus, of_lun]
            self._end_reserve_6(nexus, of_lun)
            self._attention(nexus, of_lun, NEXUS_LOSS)
            return
        if self.sessions.get(nexus) is session:
            del self.sessions[nexus]
            self._end_reserve_6(nexus)
        for lun in self.units:
            self._attention(nexus, lun, NEXUS_LOSS)

    def execute(self, command: Command) -> Outcome | None:
        """Runs a command to its end; None: it is held, and ``resume`` of it will be called unless it is aborted."""
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

    def stop(self) -> None:
        """Every session ends, and what is queued in spite of that is aborted: the ledger has all that ever came."""
        for _, session in self.all_sessions():
            session.end("the target stops")
        for lun in self.units:
            self._abort_orphans(lun)

    def all_sessions(self) -> list[tuple[Nexus, NexusSession]]:
        """Each with its nexus, which may have several."""
        return [*self.sessions.items(), *((nexus, session) for (nexus, _), session in self.of_luns.items())]

    # -- commands that outlive their session ---------------------------------------------------------------------

    def adopt(self, command: Command) -> None:
        """``command`` is held by a fault and its session has ended: nobody will be answered."""
        self._orphans[command] = None
        command.resume = partial(self._finish_orphan, command)

    def _finish_orphan(self, command: Command, run: Run) -> None:
        outcome = run()
        if outcome is not None:  # None: the next fault holds it
            self.faults.executed(command)
            del self._orphans[command]
            self.record(command.nexus, command, outcome)
            self.flush_ledger()

    def _abort_orphans(self, lun: int, nexus: Nexus | None = None) -> int:
        """Of ``nexus``, or of all; how many."""
        found = [one for one in self._orphans if one.lun == lun and nexus in (None, one.nexus)]
        for command in found:
            self.faults.let_go(command)
            del self._orphans[command]
            self.record(command.nexus, command, ABORTED)
        return len(found)

    # -- task management -----------------------------------------------------------------------------------------

    def abort_task_set(self, nexus: Nexus, lun: int) -> None:
        """ABORT TASK SET (SAM-5 7.3): the commands of ``nexus`` at ``lun``, those of its earlier sessions, too."""
        for whose, session in self.all_sessions():
            if whose is nexus:
                session.abort_tasks(lun)
        self._abort_orphans(lun, nexus)

    def clear_tasks(self, lun: int, by: Nexus) -> None:
        """CLEAR TASK SET (SAM-5 7.4): aborts the commands of all nexuses at ``lun`` and tells those that lost any."""
        for nexus, session in self.all_sessions():
            if session.abort_tasks(lun) + self._abort_orphans(lun, nexus) and nexus is not by:
                self._attention(nexus, lun, COMMANDS_CLEARED)
        self._abort_orphans(lun)

    def reset_unit(self, lun: int) -> None:
        """LOGICAL UNIT RESET (SAM-5 6.3.3): aborts all commands at ``lun`` and tells every nexus, the asking one, too.

        Ends the reservation of SPC-2 and write protection by mode page; persistent reservations stay.
        """
        unit = self.units[lun]
        unit.medium.write_protected = False
        unit.set_reservations(end_reserve_6(unit.reservations))
        for nexus, session in self.all_sessions():
            session.abort_tasks(lun)
            self._attention(nexus, lun, LUN_RESET)
        self._abort_orphans(lun)

    def reset(self) -> None:
        """TARGET WARM RESET: every command is aborted, also for a LUN that does not exist, every logical unit reset."""
        for _, session in self.all_sessions():
            session.abort_tasks(None)
        for lun in self.units:
            self.reset_unit(lun)

    def tell(self, nexus: Identity, lun: int, sense: Sense) -> None:
        """Establishes a unit attention; a nexus that never logged in here will be told POWER ON."""
        if nexus in self.nexuses:
            self._attention(self.nexuses[nexus], lun, sense)

    def tell_others(self, by: Identity, lun: int, sense: Sense) -> None:
        """Of ``Peers``: what concerns every nexus and ``by`` has caused."""
        for identity, nexus in self.nexuses.items():
            if identity != by:
                self._attention(nexus, lun, sense)

    def abort_commands(self, nexus: Identity, lun: int, spare: Command) -> None:
        """Of ``Peers``: PREEMPT AND ABORT."""
        known = self.nexuses.get(nexus)
        if known is None:
            return
        for whose, session in self.all_sessions():
            if whose is known:
                session.abort_tasks(lun, spare)
        self._abort_orphans(lun, known)

    def registration_ended(self, nexus: Identity, lun: int, key: int, by: Command) -> None:
        """Of ``Peers``: for the ledger."""
        if self.ledger is not None:
            self.ledger.registration_ended(nexus, lun, key, by.nexus)

    # -- faults --------------------------------------------------------------------------------------------------

    def fault_injected(self, fault: Fault) -> None:
        """Of ``faults.table.Observer``."""
        self.events.injected(fault)

    def fault_struck(self, fault: Fault) -> None:
        """Of ``faults.table.Observer``."""
        self.events.struck(fault)

    def fault_healed(self, fault: Fault, why: str) -> None:
        """Of ``faults.table.Observer``."""
        self.events.healed(fault, why)

    def drop_connection(self, command: Command, reason: str) -> None:
        """Of ``faults.table.Observer``. Not at once: it may just be received from."""
        if command in self._orphans:
            return
        session = self.of_luns.get((command.nexus, command.lun)) or self.sessions.get(command.nexus)
        if session is not None:
            self.faults.later(0, partial(self._end_session, session, reason))

    def commands_under_way(self) -> int:
        """How many have come and not finished; 0 when a checkpoint can be made."""
        return len(self._orphans) + sum(one.commands_under_way() for _, one in self.all_sessions())

    def flush_ledger(self) -> None:
        """What happened by a request at the control socket, or by a timer, is in the ledger before anybody is told."""
        if self.ledger is not None:
            self.ledger.flush()

    def lose_power(self, losers: Collection[Nexus]) -> int:
        """These nodes have lost power: what they left in a volatile cache is gone. How many blocks changed by that.

        Raises ``OSError`` when the host could not write all of it; what was written by then is in the ledger.
        """
        fault = next((fault for fault in self.faults.faults.values() if fault.name == VOLATILE_CACHE), None)
        if fault is None:
            return 0
        chosen = [nexus for nexus in losers if fault.selection.names(nexus.initiator, nexus.portal)]
        if not chosen:
            return 0
        blocks = 0
        failed: OSError | None = None
        for unit in self.units.values():
            failure = power_failure(unit, fault, {nexus.index for nexus in chosen})
            blocks += len(failure.changed)
            failed = failed or failure.error
            if self.ledger is not None:
                self.ledger.power_lost(unit.lun, [nexus.index for nexus in chosen], failure.changed, failure.fates)
        self.flush_ledger()
        if failed is not None:
            raise failed
        return blocks

    # -- inside --------------------------------------------------------------------------------------------------

    def _end_session(self, session: NexusSession, reason: str) -> None:
        if any(one is session for _, one in self.all_sessions()):
            session.end(reason)

    def _end_reserve_6(self, nexus: Nexus, lun: int | None = None) -> None:
        for unit in self.units.values():
            if lun in (None, unit.lun):
                unit.set_reservations(end_reserve_6(unit.reservations, nexus.identity))

    def _attention(self, nexus: Nexus, lun: int, sense: Sense) -> None:
        waiting = nexus.attentions.setdefault(lun, [])
        if sense not in waiting and POWER_ON not in waiting:
            waiting.append(sense)
