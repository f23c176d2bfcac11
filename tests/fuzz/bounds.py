"""What must hold of the target after every step: everything that initiators could make grow has a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hil.scsi.faults.table import HELD_BYTES_MAX
from hil.scsi.iscsi.framing import Framing
from hil.scsi.iscsi.negotiation import TEXT_BYTES_MAX
from hil.scsi.iscsi.pending import TASKS_MAX
from tests.fuzz.wrong import Wrong

if TYPE_CHECKING:
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

    def __init__(self, target: Target) -> None:
        self._target = target
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
        tasks = session.tasks
        if len(tasks.by_itt) > TASKS_MAX:
            raise Wrong(f"{len(tasks.by_itt)} commands of one session under way: {TASKS_MAX} are legal")
        if len(tasks._waiting) > TASKS_MAX:
            raise Wrong(f"{len(tasks._waiting)} commands of one session wait to ask for data: {TASKS_MAX} are legal")
        solicited = sum(task.solicited for task in tasks.by_itt.values())
        if solicited != tasks._used_bytes:
            raise Wrong(f"{tasks._used_bytes} bytes count as asked for, {solicited} are")

    def _received(self, session: Session) -> None:
        transfers = [task.transfer for task in session.tasks.by_itt.values() if task.transfer]
        received = sum(len(transfer.received) for transfer in transfers)
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
        """Every command that is held belongs to a session that waits for it, or has outlived one, and is counted."""
        table = self._target.faults
        if len(table.faults) > _FAULTS_MAX or len(table.armed) > _FAULTS_MAX:
            raise Wrong(f"{len(table.faults)} faults")
        known = [
            task.command
            for session in self._target.sessions.values()
            for task in session.tasks.by_itt.values()  # type: ignore[attr-defined]
        ]
        known += self._target._orphans
        held = {id(command): command for command in known if command.holder is not None}
        size = sum(len(command.data) for command in held.values())
        if size != table.held_bytes or size > HELD_BYTES_MAX:
            raise Wrong(f"{table.held_bytes} bytes count as held, {size} are: {HELD_BYTES_MAX} are legal")
        strangers = [command.cdb.hex() for command in table.held() if id(command) not in held]
        if strangers:
            raise Wrong(f"held commands of nobody: {strangers}")
