"""The shared disk: sectors, reservations by the target's own state machine, a queue, and paths that hang or fail.

Faults that a correct cluster must survive, and no others:

* latency of each command; commands that take much longer
* a path that hangs: no answer until it is healed, then the command is carried out (A8; all paths: A5)
* one LUN that answers no reservation command of a node, or fails them (A18)
* writes that stay in the disk's queue, over the end of their node too, until they land or are aborted (A3, A4)
* commands that fail: a read is not done, a write or a reservation is done or not, nobody knows
* unit attentions instead of an answer to a SCSI command
* what :mod:`hil.sim.damage` does to sectors, and a power failure to the cache

Which nexus may write is asked when a command arrives, of ``hil.scsi.reservations``, as in the real target. PREEMPT AND
ABORT ends the commands that are in the queue; their node sends them again after its timeout, as Linux does, and is told
the conflict then. A node's commands that were still on their way when it lost power never arrive, or are in the queue.

Of several LUNs each is a disk of its own, with its contents, registrations, queue and generators; LUN 0 is the way in,
and what is done to a path is done to the path to all of them.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from guestd.core.effects import ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.fence.keys import life_of
from guestd.membership import layout
from guestd.membership.sector import SECTOR_SIZE
from guestd.tasks.engine import SYNCHRONIZE_CACHE
from hil.checkers.observation import Removal
from hil.scsi.reservations import Conflict, Identity, Request, State, change
from hil.sim import ledger
from hil.sim.damage import Damage
from hil.sim.randomness import Draw, child, draws
from hil.sim.trace import DISK, sum_of

if TYPE_CHECKING:
    from mmap import mmap

    from hil.sim.nodes import Node
    from hil.sim.options import Options
    from hil.sim.queue import Queue
    from hil.sim.trace import Trace

    Command = WriteSectors | ReadSectors | ScsiCommand

_COMMAND: Final = 2  # in the digest
_READ_KEYS: Final = 0x5E
_SYNCHRONIZE_CACHE: Final = SYNCHRONIZE_CACHE[0]
_CHECK_CONDITION, _CONFLICT, _NO_ANSWER, _UNIT_ATTENTION = 0x02, 0x18, -1, 0x6
_PARAMETERS: Final = struct.Struct(">QQ4xB3x")
_TIMEOUT_US: Final = 3_000_000  # of an initiator for a command that was aborted
_QUEUED_SHARE: Final = 0.5  # of writes under way when their node dies: in the disk's queue already
_QUEUED_US_MAX: Final = 8_000_000  # for how long such a one stays there
_ANSWER_LATER_SHARE: Final = 0.1  # of answers that come some time after the command took effect
ACTIONS: Final = {0x01: "reserve", 0x04: "preempt", 0x05: "preempt-and-abort", 0x06: "register"}


class _Draws(NamedTuple):
    """The random numbers of one node, by what they are for."""

    latency: Draw
    slow: Draw
    answer: Draw
    frozen: Draw
    error: Draw
    dead: Draw
    attention: Draw


class Held(NamedTuple):
    """A write in the disk's queue, which may land after its node is gone."""

    node: Node
    life: int
    command: WriteSectors


class Disk:
    """``medium`` is what is on it. ``aborts`` off: PREEMPT AND ABORT aborts nothing, for tests of the tests.

    ``further``: of LUN 0, the others.
    """

    def __init__(
        self,
        medium: bytearray | mmap,
        queue: Queue,
        randomness: random.Random,
        options: Options,
        trace: Trace,
        lun: int = 0,
    ) -> None:
        self.lun = lun
        self.further: list[Disk] = []
        self.medium = medium
        self.state = State()
        self.aborts = True
        self.ledger = ledger.Ledger()
        self.damage = Damage(medium, child(randomness), options)
        self.error_share = [0.0] * options.nodes  # by node
        self.on_landed: Callable[[Node, int, WriteSectors], None] = lambda _node, _life, _command: None
        self.on_keyed: Callable[[int, int], None] = lambda _node, _incarnation: None
        self.on_removed: Callable[[Removal], None] = lambda _removal: None
        self.on_raw: Callable[[Node, int, int, bool], None] = lambda _node, _life, _lun, _ok: None
        """Of a program beside guestd: its write to that LUN has ended. Its tag is negative."""
        self._queue = queue
        self._draws = [_Draws(*draws(randomness, len(_Draws._fields))) for _ in range(options.nodes)]
        self._trace = trace
        self._options = options
        self._hung = [0] * options.nodes  # by node: how many faults hang its path
        self._waiting: list[list[tuple[Node, int, Command]]] = [[] for _ in range(options.nodes)]
        self._fences_hung = [0] * options.nodes
        self._fences_waiting: list[list[tuple[Node, int, Command]]] = [[] for _ in range(options.nodes)]
        self._fences_fail = [0.0] * options.nodes  # a share
        self._holding = [0] * options.nodes
        self._held: list[Held] = []
        self._attentions = [0] * options.nodes
        self._mark = lun << 60  # in the digest
        self._slow = options.slow_share / 1000
        self._latency_us = options.latency_us_max

    def contents(self) -> bytes | bytearray | mmap:
        """All of it, as a read would bring it."""
        return self.medium

    def add(self, further: Disk) -> None:
        """The next LUN."""
        further.error_share = self.error_share
        further.ledger = self.ledger
        self.further.append(further)

    def of(self, lun: int) -> Disk | None:
        """That LUN; None: there is none."""
        disks = [self, *self.further]
        return disks[lun] if lun < len(disks) else None

    # -- faults

    def hang(self, number: int) -> None:
        """No command of that node is carried out, until as many calls of ``unhang``."""
        for one in self.further:
            one.hang(number)
        self._hung[number] += 1

    def unhang(self, number: int) -> None:
        """What waited goes on, in its order."""
        for one in self.further:
            one.unhang(number)
        self._hung[number] -= 1
        if not self._hung[number]:
            waiting, self._waiting[number] = self._waiting[number], []
            for node, life, command in waiting:
                self._arrive(node, life, command)

    def hang_fences(self, number: int) -> None:
        """No reservation command of that node to this LUN is carried out, until as many calls of ``unhang_fences``."""
        self._fences_hung[number] += 1

    def unhang_fences(self, number: int) -> None:
        """What waited goes on, in its order."""
        self._fences_hung[number] -= 1
        if not self._fences_hung[number]:
            waiting, self._fences_waiting[number] = self._fences_waiting[number], []
            for node, life, command in waiting:
                self._arrive(node, life, command)

    def fail_fences(self, number: int, share: float) -> None:
        """That share of the reservation commands of that node to this LUN fails."""
        self._fences_fail[number] = share

    def fails_fences(self, number: int) -> bool:
        """Whether some do."""
        return bool(self._fences_fail[number])

    def hold(self, number: int) -> None:
        """Writes of that node stay in the queue, until as many calls of ``let_go``."""
        for one in self.further:
            one.hold(number)
        self._holding[number] += 1

    def let_go(self, number: int) -> None:
        """What is in the queue of that node lands, in its order."""
        for one in self.further:
            one.let_go(number)
        self._holding[number] -= 1
        if not self._holding[number]:
            for held in [one for one in self._held if one.node.number == number]:
                self._land_held(held)

    @property
    def held(self) -> list[Held]:
        """What is in the queue."""
        return list(self._held)

    @property
    def whole(self) -> bool:
        """Whether no path hangs, nothing is held back and no command is made to fail."""
        faults = (*self._hung, *self._holding, *self.error_share, *self._fences_hung, *self._fences_fail)
        return not any(faults) and all(one.whole for one in self.further)

    # -- commands

    def submit(self, node: Node, command: Command) -> None:
        """On its way to the disk."""
        if command.lun != self.lun:
            self.further[command.lun - 1].submit(node, command)
            return
        draw = self._draws[node.number]
        delay_us = 20 + int(draw.latency() * self._latency_us)
        if self._slow and draw.slow() < self._slow:
            delay_us += int(draw.slow() * self._options.slow_ms_max * 1000)
        self._queue.after(delay_us, self._arrive, node, node.life, command)

    def _arrive(self, node: Node, life: int, command: Command) -> None:
        number = node.number
        if node.stack is None or node.life != life:
            self._of_the_dead(node, life, command)
        elif node.frozen is not None and self._draws[number].frozen() < 0.5:
            node.keep(self._arrive, node, life, command)  # its machine stood before it had sent that
        elif self._hung[number]:
            self._waiting[number].append((node, life, command))
        elif self.error_share[number] and self._draws[number].error() < self.error_share[number]:
            self._fail(node, life, command)
        elif self._fences_hung[number] and isinstance(command, ScsiCommand):
            self._fences_waiting[number].append((node, life, command))
        elif self._fences_fail[number] and isinstance(command, ScsiCommand) and self._fails_fence(number):
            self._fail(node, life, command)
        elif isinstance(command, ReadSectors):
            start = command.lba * SECTOR_SIZE
            data = bytes(self.medium[start : start + command.count * SECTOR_SIZE])
            if self.damage.enabled:
                data = self.damage.read(number, command.lba, data)
            self._trace.note(_COMMAND, number, command.lba | self._mark)
            if self._trace.recording:
                self._trace.touch(DISK)
            self.ledger.reads += 1
            self._answer(node, life, ReadDone(command.tag, True, data))
        elif isinstance(command, WriteSectors):
            self._write(node, life, command)
        else:
            self._answer(node, life, self._scsi(node, life, command))

    def _write(self, node: Node, life: int, command: WriteSectors) -> None:
        number = node.number
        if not self._may_write(number):
            self._enter(node, life, "write", command.lba, ledger.REFUSED)
            self._answer(node, life, WriteDone(command.tag, False, conflict=True))
        elif self._holding[number]:
            self._enter(node, life, "write", command.lba, ledger.HELD)
            self._held.append(Held(node, life, command))
        elif self.damage.loses(command.lba, durable=command.durable):
            self._enter(node, life, "write", command.lba, ledger.LOST)
            self._answer(node, life, WriteDone(command.tag, True))
        else:
            torn = self.damage.tears(command.lba, command.data, durable=command.durable, dies=False)
            if torn is None:
                self._land(node, life, command, ledger.DONE)
                self._answer(node, life, WriteDone(command.tag, True))
            else:
                self._land(node, life, _with_data(command, torn[0]), ledger.TORN)
                self._answer(node, life, WriteDone(command.tag, torn[1]))

    def _fails_fence(self, number: int) -> bool:
        return self._draws[number].error() < self._fences_fail[number]

    def _may_write(self, number: int) -> bool:
        return self.state.type is None or nexus(number) in self.state.keys

    def _land(self, node: Node, life: int, command: WriteSectors, outcome: str) -> None:
        data, start = command.data, command.lba * SECTOR_SIZE
        self._enter(node, life, "write", command.lba, outcome)
        self._trace.note(_COMMAND, node.number, command.lba << 32 | sum_of(data) | self._mark)
        self.damage.written(node.number, command.lba, data, durable=command.durable)
        self.medium[start : start + len(data)] = data
        if self._trace.recording:
            self._trace.touch(DISK)
        self.on_landed(node, life, command)

    def _land_held(self, held: Held) -> None:
        """It was in the queue: whether it may write was asked when it came."""
        if held not in self._held:
            return
        self._held.remove(held)
        node, life, command = held
        self._land(node, life, command, ledger.LANDED)
        self._answer(node, life, WriteDone(command.tag, True))

    def _of_the_dead(self, node: Node, life: int, command: Command) -> None:
        """Its machine is gone. A write may be in the disk's queue all the same, whole or in part."""
        draw = self._draws[node.number].dead
        write = isinstance(command, WriteSectors)
        if not write or not self._may_write(node.number) or draw() >= _QUEUED_SHARE:
            self._enter(node, life, _name(command), -1, ledger.DROPPED)
            return
        assert isinstance(command, WriteSectors)
        torn = self.damage.tears(command.lba, command.data, durable=command.durable, dies=True)
        if torn is not None:
            self._land(node, life, _with_data(command, torn[0]), ledger.TORN)
            return
        self._enter(node, life, "write", command.lba, ledger.HELD)
        held = Held(node, life, command)
        self._held.append(held)
        self._queue.after(int(draw() * _QUEUED_US_MAX), self._land_held, held)

    def _fail(self, node: Node, life: int, command: Command) -> None:
        """The node is told that it failed; a write or a reservation may be done nevertheless."""
        self._trace.note(_COMMAND, node.number, 0)
        executed = self._draws[node.number].error() < 0.5
        if isinstance(command, ReadSectors):
            self._enter(node, life, "read", command.lba, ledger.FAILED)
            self._answer(node, life, ReadDone(command.tag, False, b""))
        elif isinstance(command, WriteSectors):
            if executed and self._may_write(node.number):
                self._land(node, life, command, ledger.FAILED)
            else:
                self._enter(node, life, "write", -1, ledger.FAILED)
            self._answer(node, life, WriteDone(command.tag, False))
        else:
            if executed:
                self._scsi(node, life, command)
            self._enter(node, life, _name(command), -1, ledger.FAILED)
            self._answer(node, life, ScsiDone(command.tag, _NO_ANSWER))

    def _scsi(self, node: Node, life: int, command: ScsiCommand) -> ScsiDone:
        number, name = node.number, _name(command)
        self._trace.note(_COMMAND, number, sum_of(command.cdb + command.data) | self._mark)
        share = self._options.attention_share
        told = share and self._draws[number].attention() * 1000 < share
        if told or self._attentions[number]:
            self._attentions[number] = max(0, self._attentions[number] - 1)
            self._enter(node, life, name, -1, ledger.ATTENTION)
            return ScsiDone(command.tag, _CHECK_CONDITION, sense_key=_UNIT_ATTENTION)
        if command.cdb[0] == _SYNCHRONIZE_CACHE:
            self._enter(node, life, name, -1, ledger.DONE)
            self.damage.cache.flushed()
            return ScsiDone(command.tag, 0)
        if command.cdb[0] == _READ_KEYS:
            self._enter(node, life, name, -1, ledger.DONE)
            keys = list(self.state.keys.values())
            return ScsiDone(
                command.tag, 0, struct.pack(f">II{len(keys)}Q", self.state.generation, 8 * len(keys), *keys)
            )
        key, action_key, flags = _PARAMETERS.unpack(command.data)
        request = Request(nexus(number), key, action_key, command.cdb[2], aptpl=bool(flags & 1))
        before = self.state.keys
        try:
            done = change(self.state, command.cdb[1] & 0x1F, request)
        except Conflict:
            self._enter(node, life, name, -1, ledger.REFUSED)
            return ScsiDone(command.tag, _CONFLICT)
        self._enter(node, life, name, -1, ledger.DONE)
        self.state = done.state
        if self._trace.recording:
            self._trace.touch(DISK)
        for told_nexus, _ in done.told:
            self._attentions[_number(told_nexus)] += 1
        if self.aborts:
            self._abort({_number(one) for one in done.aborted})
        for removed in done.removed:
            owner = life_of(before[removed])
            if owner is not None:
                self.on_removed(Removal(*owner, by=number))
        key = self.state.keys.get(request.nexus, 0)
        if key != before.get(request.nexus) and (owner := life_of(key)) is not None:
            self.on_keyed(*owner)
        return ScsiDone(command.tag, 0)

    def _abort(self, numbers: set[int]) -> None:
        for held in [one for one in self._held if one.node.number in numbers]:
            self._held.remove(held)
            node, life, command = held
            self._enter(node, life, "write", command.lba, ledger.ABORTED)
            if node.life == life:
                self._queue.after(_TIMEOUT_US, self._again, node, life, command)

    def _again(self, node: Node, life: int, command: WriteSectors) -> None:
        """Nobody has answered: the node's kernel sends it once more, if there still is one."""
        if node.stack is not None and node.life == life:
            self._arrive(node, life, command)

    def power_lost(self, number: int) -> None:
        """The machine of that node has no power any more."""
        for one in self.further:
            one.power_lost(number)
        self._waiting[number] = []  # on its way, and never sent again
        self._fences_waiting[number] = []
        self.damage.power_lost(number)

    def _answer(self, node: Node, life: int, done: WriteDone | ReadDone | ScsiDone) -> None:
        draw = self._draws[node.number].answer
        if done.tag < 0:
            self.on_raw(node, life, self.lun, isinstance(done, WriteDone) and done.ok)
        elif draw() < _ANSWER_LATER_SHARE:
            self._queue.after(int(draw() * self._latency_us), node.give, life, done)
        else:
            node.give(life, done)

    def _enter(self, node: Node, life: int, what: str, lba: int, outcome: str) -> None:
        entry = ledger.Entry(self._queue.now_us, node.number, life, what, lba, outcome, self.lun)
        self.ledger.entries.append(entry)
        if self._trace.recording and (outcome != ledger.DONE or what != "write" or not _is_heartbeat(lba)):
            where = f"LUN {self.lun}" if self.lun else "disk"
            self._trace.remark(node.number, f"{where}: {what}{'' if lba < 0 else f' LBA {lba}'}: {outcome}")


@cache
def nexus(number: int) -> Identity:
    """A node's path: its initiator name and portal, the same in all its lives."""
    return f"n{number}", "0"


def _number(identity: Identity) -> int:
    return int(identity[0][1:])


def _name(command: Command) -> str:
    if isinstance(command, ScsiCommand):
        if command.cdb[0] == _SYNCHRONIZE_CACHE:
            return "synchronize-cache"
        return "read-keys" if command.cdb[0] == _READ_KEYS else ACTIONS[command.cdb[1] & 0x1F]
    return "read" if isinstance(command, ReadSectors) else "write"


def _with_data(command: WriteSectors, data: bytes) -> WriteSectors:
    return WriteSectors(command.tag, command.lba, data, command.durable, command.lun)


def _is_heartbeat(lba: int) -> bool:
    return (lba - layout.REGIONS_LBA) % layout.REGION_SECTORS == layout.HEARTBEAT_SECTOR
