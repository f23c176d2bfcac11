"""What must hold of the target after every step: everything that initiators could make grow has a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hil.scsi.faults.table import HELD_BYTES_MAX
from hil.scsi.iscsi.framing import Framing
from hil.scsi.iscsi.lobby import WAITING_MAX
from hil.scsi.iscsi.negotiation import TEXT_BYTES_MAX
from hil.scsi.iscsi.pending import TASKS_MAX
from tests.fuzz.wire import UNREAD_BYTES_MAX
from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
    from hil.scsi.iscsi.lobby import Lobby
    from hil.scsi.iscsi.session import Session
    from hil.scsi.target import Target
    from tests.fuzz.node import Node

_SOLICITED_BYTES_MAX: Final = 4 * 1024 * 1024
_FIRST_BURST_BYTES_MAX: Final = 64 * 1024
_RECEIVED_BYTES_MAX: Final = _SOLICITED_BYTES_MAX + TASKS_MAX * _FIRST_BURST_BYTES_MAX
_FAULTS_MAX: Final = 256
_NEXUSES_MAX: Final = 4096
_ATTENTIONS_MAX: Final = 10  # of one nexus at one unit: as many kinds as there are, each once
_BUFFER_BYTES: Final = len(Framing().buffer)
_EVERY: Final = 16  # steps, for what takes longer to look at


class Bounds:
    """Raises ``Wrong``."""

    def __init__(self, target: Target, lobby: Lobby) -> None:
        self._target = target
        self._lobby = lobby
        self._steps = 0

    def check(self, nodes: list[Node]) -> None:
        """After each step; all of it only now and then."""
        self._steps += 1
        for node in nodes:
            session = node.session
            if session is not None:
                self._session(session)
                if session.out and not node.wire.is_closing() and not node.connection._paused:
                    raise Wrong(f"{node.name}: answers that were not sent")
        if not self._steps % _EVERY:
            self.check_all(nodes)

    def check_all(self, nodes: list[Node]) -> None:
        """What a session holds and what the faults hold, command by command."""
        for node in nodes:
            if len(node.connection._framing.buffer) != _BUFFER_BYTES:
                raise Wrong("the receive buffer has grown")
            if node.session is not None:
                self._received(node.session)
        self._sessions(nodes)
        self._nexuses()
        self._faults()

    def _session(self, session: Session) -> None:
        if session.out_bytes > UNREAD_BYTES_MAX:
            raise Wrong(f"{session.out_bytes} bytes wait to be sent: {UNREAD_BYTES_MAX} are legal")
        tasks = session.tasks
        if len(tasks.by_itt) > TASKS_MAX:
            raise Wrong(f"{len(tasks.by_itt)} commands of one session under way: {TASKS_MAX} are legal")
        if len(tasks._waiting) > TASKS_MAX:
            raise Wrong(f"{len(tasks._waiting)} commands of one session wait to ask for data: {TASKS_MAX} are legal")
        solicited = sum(task.solicited for task in tasks.by_itt.values())
        if solicited != tasks._used_bytes or solicited > _SOLICITED_BYTES_MAX:
            raise Wrong(f"{tasks._used_bytes} bytes count as asked for, {solicited} are")

    def _received(self, session: Session) -> None:
        """Data that came, and that what did not come is on its way or will be asked for."""
        waiting = {id(task) for task, _ in session.tasks._waiting}
        received = 0
        for task in session.tasks.by_itt.values():
            transfer = task.transfer
            if transfer is None:
                continue
            received += len(transfer.received)
            if len(transfer.received) > transfer.sequence_end:
                raise Wrong(f"{len(transfer.received)} bytes of a write taken, {transfer.sequence_end} are due")
            if not transfer.sequence_open and id(task) not in waiting:
                raise Wrong(f"a write that will never get its data: {task.command.cdb.hex()}")
        if received > _RECEIVED_BYTES_MAX:
            raise Wrong(f"one session holds {received} bytes of data: {_RECEIVED_BYTES_MAX} are legal")
        if len(session._text._text) > TEXT_BYTES_MAX:
            raise Wrong(f"one session holds {len(session._text._text)} bytes of text")

    def _sessions(self, nodes: list[Node]) -> None:
        """The target's sessions are those of connections, one each."""
        known = {node.session for node in nodes}
        for nexus, session in self._target.sessions.items():
            if session.nexus is not nexus:
                raise Wrong(f"{nexus} has a session of {session.nexus}")
        if len(self._lobby._waiting) > WAITING_MAX:
            raise Wrong(f"{len(self._lobby._waiting)} connections without a nexus: {WAITING_MAX} are legal")
        alone = [nexus for nexus, session in self._target.sessions.items() if session not in known]
        # A node that connected again has forgotten its connection, whose end the target hears in the next turn.
        if len(alone) > len(nodes):
            raise Wrong(f"sessions without a connection: {alone}")

    def _nexuses(self) -> None:
        target = self._target
        if len(target.nexuses) > _NEXUSES_MAX + len(target.sessions):
            raise Wrong(f"{len(target.nexuses)} nexuses")
        for nexus in target.nexuses.values():
            for lun, waiting in nexus.attentions.items():
                if len(waiting) > _ATTENTIONS_MAX or len(set(waiting)) != len(waiting) or lun not in target.units:
                    raise Wrong(f"unit attentions of {nexus} at LUN {lun}: {waiting}")

    def _faults(self) -> None:
        """Every command that is held is one of a session, or has outlived it, and is counted; all others will end."""
        table = self._target.faults
        if len(table.faults) > _FAULTS_MAX or len(table.armed) > _FAULTS_MAX:
            raise Wrong(f"{len(table.faults)} faults")
        if any(fault.left is not None and fault.left < 1 for fault in table.armed):
            raise Wrong("a fault that has struck as often as it was to can strike again")
        sessions: list[Session] = list(self._target.sessions.values())  # type: ignore[arg-type]
        tasks = [task for session in sessions for task in session.tasks.by_itt.values()]
        known = [task.command for task in tasks] + list(self._target._orphans)
        held = {id(command): command for command in known if command.holder is not None}
        size = sum(len(command.data) for command in held.values())
        if size != table.held_bytes or size > HELD_BYTES_MAX:
            raise Wrong(f"{table.held_bytes} bytes count as held, {size} are: {HELD_BYTES_MAX} are legal")
        if any(isinstance(command.data, memoryview) for command in held.values()):
            raise Wrong("data of a held command is in the receive buffer still")
        strangers = [command.cdb.hex() for command in table.held() if id(command) not in held]
        if strangers:
            raise Wrong(f"held commands of nobody: {strangers}")
        late = {id(task) for session in sessions for task, _ in session._late}
        lost = [task for task in tasks if not (task.transfer or task.command.holder or id(task) in late)]
        if lost:
            raise Wrong(f"commands that nothing will end: {[task.command.cdb.hex() for task in lost]}")
