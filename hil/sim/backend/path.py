"""A node's path to the shared disk: initiator and session in one, as the target sees them, without a network between.

What Linux and QEMU do for guestd is done here: a unit attention, BUSY and TASK SET FULL send the command again; a
connection that was reset is made anew, and what had no answer is sent again; a command that was aborted is sent again
after a timeout. What hangs, hangs: no timeout ends it.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from guestd.core.effects import ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.membership.sector import SECTOR_SIZE
from hil.errors import LaboratoryError
from hil.scsi.command import ABORTED, Command, Nexus, Outcome
from hil.scsi.iscsi.login import LoginRefused
from hil.scsi.sense import Status

if TYPE_CHECKING:
    from hil.scsi.faults.fault import Run
    from hil.scsi.target import Portal
    from hil.sim.backend.disk import TargetDisk
    from hil.sim.disk import Command as Effect
    from hil.sim.nodes import Node

TIMEOUT_US: Final = 3_000_000
"""Of an initiator for a command that was aborted."""

BUSY_US: Final = 100_000
RECONNECT_US: Final = 100_000
REFUSED_US: Final = 1_000_000
"""Until the next try, where a login was refused."""

ATTENTIONS_MAX: Final = 8
"""More in a row are no news but a fault (``guestd/runtime/scsi_generic.py``)."""

_READ_WRITE_10: Final = struct.Struct(">BBIxHx")
_READ, _WRITE, _FUA = 0x28, 0x2A, 0x08
_CDB_SIZE: Final = 16
_UNIT_ATTENTION: Final = 0x6
_NO_ANSWER: Final = -1


class Sent(NamedTuple):
    """What guestd asked for. ``life``: of its node; ``attentions`` it has met with."""

    node: Node
    life: int
    effect: Effect
    attentions: int = 0


class Path:
    """Of node ``number``. ``power`` counts how often its machine was switched off."""

    def __init__(self, disk: TargetDisk, number: int, portal: Portal, initiator: str) -> None:
        self.number = number
        self.power = 0
        self.on = False
        self.nexus: Nexus | None = disk.target.nexus(initiator, portal)
        self._disk = disk
        self._target = disk.target
        self._portal = portal
        self._initiator = initiator
        self._connected = False
        self._under_way: dict[Command, Sent] = {}
        self._unanswered: list[Sent] = []

    # -- the machine's power

    def power_on(self) -> None:
        """The machine logs in. Raises :class:`LaboratoryError` if it is refused: without its disk it does not start."""
        try:
            self._log_in()
        except LoginRefused as refused:
            raise LaboratoryError(f"node {self.number}: its disk cannot be reached: {refused}") from None
        self.on = True

    def power_off(self) -> None:
        """The connection is gone, and whatever nobody had sent yet."""
        self.power += 1
        self.on = False
        self.end("the machine has lost power")
        self._unanswered.clear()

    def _log_in(self) -> None:
        assert self.nexus is not None
        self._target.admit(self._portal, self._initiator, self._target.name)
        self._target.attach(self.nexus, self)
        self._connected = True

    def _reconnect(self, power: int) -> None:
        if power != self.power or self._connected:
            return
        try:
            self._log_in()
        except LoginRefused:
            self._disk.later(REFUSED_US, self._reconnect, power)
            return
        unanswered, self._unanswered = self._unanswered, []
        for sent in unanswered:
            self.send(sent)

    # -- commands

    def send(self, sent: Sent) -> None:
        """It comes to the target, which carries it out at once or holds it; or it waits for a connection."""
        if not self._connected:
            self._unanswered.append(sent)
            return
        assert self.nexus is not None
        cdb, data = _encoded(sent.effect)
        command = Command(self.nexus, sent.effect.lun, cdb.ljust(_CDB_SIZE, b"\0"), data, self._disk.now_ns())
        command.resume = partial(self._resume, command)
        self._disk.senders[command] = (sent.node, sent.life)
        outcome = self._target.execute(command)
        if outcome is None:
            self._under_way[command] = sent
        else:
            self._finish(command, sent, outcome)

    def _resume(self, command: Command, run: Run) -> None:
        """A fault lets it go."""
        if command not in self._under_way:
            return
        outcome = run()
        if outcome is not None:  # None: the next fault holds it
            self._target.faults.executed(command)
            self._finish(command, self._under_way.pop(command), outcome)

    def _finish(self, command: Command, sent: Sent, outcome: Outcome) -> None:
        self._target.record(command.nexus, command, outcome)
        if outcome.status == Status.TASK_ABORTED:  # its connection goes, and nobody is answered
            self._unanswered.append(sent)
        elif outcome.status in (Status.BUSY, Status.TASK_SET_FULL):
            self._disk.again_later(BUSY_US, sent)
        elif _told_attention(sent, outcome):
            self.send(sent._replace(attentions=sent.attentions + 1))
        else:
            self._disk.answer(sent, _decoded(sent.effect, outcome))

    # -- of ``NexusSession``

    def commands_under_way(self) -> int:
        """How many have not finished."""
        return len(self._under_way)

    def abort_tasks(self, lun: int | None, spare: Command | None = None) -> int:
        """Aborts what is held, but ``spare``; the node sends it again after its timeout. How many."""
        found = [command for command in self._under_way if command is not spare and lun in (None, command.lun)]
        for command in found:
            self._disk.again_later(TIMEOUT_US, self._abort(command))
        return len(found)

    def end(self, reason: str) -> None:
        """The connection is dropped; made anew while the machine has power."""
        if not self._connected:
            return
        self._connected = False
        for command in list(self._under_way):
            if self._target.faults.outlives(command):
                self._unanswered.append(self._under_way.pop(command))
                self._target.adopt(command)
            else:
                self._unanswered.append(self._abort(command))
        assert self.nexus is not None
        self._target.detach(self.nexus, self)
        if self.on:
            self._disk.later(RECONNECT_US, self._reconnect, self.power)

    def _abort(self, command: Command) -> Sent:
        sent = self._under_way.pop(command)
        self._target.faults.let_go(command)
        self._target.record(command.nexus, command, ABORTED)
        return sent


def _encoded(effect: Effect) -> tuple[bytes, bytes]:
    """CDB and data."""
    if isinstance(effect, ScsiCommand):
        return effect.cdb, effect.data
    if isinstance(effect, WriteSectors):
        flags = _FUA if effect.durable else 0
        return _READ_WRITE_10.pack(_WRITE, flags, effect.lba, len(effect.data) // SECTOR_SIZE), effect.data
    return _READ_WRITE_10.pack(_READ, 0, effect.lba, effect.count), b""


def _told_attention(sent: Sent, outcome: Outcome) -> bool:
    """Of something else that has happened; guestd hears of it only for commands of its own making."""
    return (
        not isinstance(sent.effect, ScsiCommand)
        and outcome.status == Status.CHECK_CONDITION
        and _sense_key(outcome) == _UNIT_ATTENTION
        and sent.attentions < ATTENTIONS_MAX
    )


def _sense_key(outcome: Outcome) -> int:
    return outcome.sense[2] & 0x0F  # fixed format (SPC-4 4.5.3)


def _decoded(effect: Effect, outcome: Outcome) -> WriteDone | ReadDone | ScsiDone:
    good = outcome.status == Status.GOOD
    if isinstance(effect, WriteSectors):
        return WriteDone(effect.tag, good, conflict=outcome.status == Status.RESERVATION_CONFLICT)
    if isinstance(effect, ReadSectors):
        return ReadDone(effect.tag, good, bytes(outcome.data)[: effect.count * SECTOR_SIZE] if good else b"")
    key = _sense_key(outcome) if outcome.status == Status.CHECK_CONDITION else 0
    return ScsiDone(effect.tag, int(outcome.status), bytes(outcome.data)[: effect.reply_size], key)


def failed(effect: Effect) -> WriteDone | ReadDone | ScsiDone:
    """What guestd is told of a command that brought no answer."""
    if isinstance(effect, WriteSectors):
        return WriteDone(effect.tag, False)
    return ReadDone(effect.tag, False, b"") if isinstance(effect, ReadSectors) else ScsiDone(effect.tag, _NO_ANSWER)
