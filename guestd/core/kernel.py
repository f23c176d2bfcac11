"""The levels above the membership that do their work in guestd itself (spec S7): what comes in for them, and what they
have to say after each input."""

from __future__ import annotations

from guestd.core.effects import Answer, OfferFiles
from guestd.core.timing import SYNCHRONIZE_MS
from guestd.dlm import shown
from guestd.dlm.level import LockLevel
from guestd.dlm.programs import VERBS, ProgramLocks
from guestd.sfs.level import VIRTUAL_DISK, SfsLevel
from guestd.sfs.server import FileServer
from guestd.tasks.engine import Engine
from guestd.tasks.steps import Signal
from guestd.transition.participant import NOTHING, Progress
from guestd.vdm.level import VdmLevel
from guestd.vdm.persistent import PersistentVolume
from guestd.vdm.programs import VolumePrograms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.core.context import Context
    from guestd.dlm.desk import LockDesk
    from guestd.sfs.requests import FileRequest
    from guestd.transition.participant import Participant, Step
    from guestd.transition.subsystem import Subsystem


class Kernel:
    """One per stack. `settle` must be called at the end of every input that may concern it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.locks = LockLevel(context.config.cluster_id, context.node)
        self.engine = Engine(context.data, self._desk)
        config = context.config
        self.volumes = VdmLevel(config.cluster_id, context.node, config.nodes, self.engine, VIRTUAL_DISK)
        self.files = SfsLevel(context.node, self.engine.start, self._volume, self._lost, context.emit)
        self.server = FileServer(
            self.engine.start, lambda: self.files.file_system, context.effects.append, self._has_fault
        )
        self.lost: str | None = None  # why this node must not go on: what is in its files would be wrong
        self._offered = False
        self._next_tick = Signal()
        self._synchronized_ms = 0
        self._programs = ProgramLocks(context, self.locks)
        self._volume_programs = VolumePrograms(context, self.volumes, self.engine)
        self._left = False

    def subsystems(self) -> list[Subsystem]:
        """Bottom-up."""
        return [self.locks, self.volumes, self.files]

    def heard(self, payload: bytes) -> None:
        """A datagram of the ordered channels has come in."""
        if self.locks.manager is not None:
            self.locks.manager.heard(payload, self._context.now_ms)

    def said(self, connection: int, message: object) -> bool:
        """A line of a program, as JSON; whether it is for one of these levels."""
        if not isinstance(message, dict) or len(message) != 1:
            return False
        ((verb, asked),) = message.items()
        if verb in VERBS:
            self._programs.said(connection, verb, asked)
        elif verb == "vdisk":
            self._volume_programs.said(connection, asked)
        elif verb == "show" and asked == "locks":
            self._context.effects.append(Answer(connection, {"locks": shown.everything(self.locks.manager)}))
        else:
            return False
        return True

    def asked(self, given: FileRequest) -> None:
        """A program asks for something of the shared file system."""
        self.server.handle(given)

    def gone(self, connection: int) -> None:
        """The connection of a program has ended."""
        self._programs.gone(connection)

    def _desk(self) -> LockDesk:
        assert self.locks.desk is not None, "the levels above the lock manager join after it"
        return self.locks.desk

    def status(self) -> dict[str, Any]:
        """For the order "status"."""
        return {
            "dlm": shown.summary(self.locks.manager),
            "vdm": {"joined": self.volumes.joined, "refused": self.volumes.refused},
            "sfs": {
                "mounted": self.files.file_system is not None,
                "refused": self.files.refused,
                "open": self.server.open_count,
                "served": self.server.served,
                "replays": self.files.replays,
            },
        }

    def tick(self) -> None:
        """A heartbeat period has passed."""
        if self.locks.manager is not None:
            self.locks.manager.tick(self._context.now_ms)
            self.volumes.tick()
            tick, self._next_tick = self._next_tick, Signal()
            tick.fire()
            if self._context.now_ms - self._synchronized_ms >= SYNCHRONIZE_MS:
                self._synchronized_ms = self._context.now_ms
                self.server.synchronize()
                self.volumes.open_again()
                self.files.mount_again()

    def end(self) -> None:
        """This life is over."""
        self.engine.stop()

    def settle(self, participant: Participant) -> Progress:
        """Tell the users of locks, and the other nodes, what there is to tell; what has been acknowledged meanwhile."""
        manager, desk = self.locks.manager, self.locks.desk
        if manager is None or desk is None or not (manager.touched or self.engine.touched):
            return NOTHING
        acknowledged: list[Step] = []
        speaks = False  # a lock manager that nothing has come to has nothing to say
        while manager.touched or self.engine.touched:
            self.engine.touched = False
            if manager.touched:
                speaks, manager.touched = True, False
                desk.tell()
            acknowledged += participant.collect().acknowledged
        if self.locks.left and not self._left:  # programs first: what the others are told lets them go on
            self._left = True
            self._programs.left()
        if speaks or manager.touched:
            for node, payload in manager.datagrams():
                self._context.send(node, payload)
        if self.files.file_system is not None and not self._offered:
            self._offered = True
            self._context.effects.append(OfferFiles())
        return Progress((), tuple(acknowledged)) if acknowledged else NOTHING

    def _volume(self) -> PersistentVolume | None:
        if self.volumes.wanted is None:
            return None
        context = self._context
        return PersistentVolume(
            self.volumes.wanted, lambda: context.now_ms, lambda: self._next_tick, context.config.timing.patience_ms
        )

    def _lost(self, why: str) -> None:
        self.lost = self.lost or why

    def _has_fault(self, what: str) -> None:
        """Of this software: for people, who find it in the events."""
        self._context.emit("fault", subsystem=self.files.level.name, reason=what)
