"""N nodes with virtual disks over real lock managers (`dlm_net`), on one disk in memory that may lose its cache.

A node can be made to die at any of its writes, of which none, all, or some of the sectors reach the disk. A node that
is forced out is refused by the disk from then on, as the fence has it.

What has been decided is read off the disk: an intent of which a copy is whole is a change that must be made
(`History`). So the model that the tables are compared with owes nothing to what VDM believes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guestd.core.disk import Disk as Lane
from guestd.core.effects import Effect, ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.dlm.desk import LockDesk
from guestd.dlm.level import LockLevel
from guestd.dlm.manager import LockManager
from guestd.membership.position import Position
from guestd.membership.sector import Damaged, unseal
from guestd.membership.states import NodeState
from guestd.tasks.engine import SYNCHRONIZE_CACHE, Engine, Outcome
from guestd.transition.levels import Levels
from guestd.transition.subsystem import Notification, Subsystem
from guestd.vdm import layout, records, tables
from guestd.vdm.extents import owned, places
from guestd.vdm.format import format_volumes
from guestd.vdm.level import VdmLevel
from guestd.vdm.manager import VirtualDisks
from guestd.vdm.records import Disk, Intent
from tests.unit.dlm_net import CLUSTER_ID, Options, World

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

SIZE = 16 << 20
KEPT = ("none", "all", "first", "last", "some")
"""What of a write reaches the disk when its node dies at it."""

KEPT_OF_ONE = ("none", "all")
"""The same, of a write of one sector."""


class SharedDisk:
    """Sectors; what was written and not flushed is in the cache, which a power failure may lose."""

    def __init__(self, nodes: int, size: int = SIZE) -> None:
        self.medium: dict[int, bytes] = {}
        self.cache: dict[int, bytes] = {}
        self.unreadable: set[int] = set()
        self.unwritable: set[int] = set()
        self.write(layout.TABLES_LBA, format_volumes(CLUSTER_ID.hex(), nodes, size), durable=True)

    def read(self, lba: int, count: int) -> bytes:
        return b"".join(self.cache.get(at) or self.medium.get(at) or unwritten(at) for at in range(lba, lba + count))

    def sectors(self, lba: int, count: int) -> list[bytes]:
        return [self.read(at, 1) for at in range(lba, lba + count)]

    def write(self, lba: int, data: bytes, *, durable: bool, kept: Iterable[int] | None = None) -> None:
        """kept: which of its sectors are written; None: all."""
        for place in range(len(data) // 512) if kept is None else kept:
            sector = data[512 * place : 512 * (place + 1)]
            if durable:
                self.cache.pop(lba + place, None)
                self.medium[lba + place] = sector
            else:
                self.cache[lba + place] = sector

    def flush(self) -> None:
        self.medium |= self.cache
        self.cache.clear()

    def lose(self, randomness: random.Random | None = None) -> None:
        """A power failure: everything in the cache is lost, or by the roll of a die."""
        for lba, sector in self.cache.items():
            if randomness is not None and randomness.random() < 0.5:
                self.medium[lba] = sector
        self.cache.clear()

    def copy(self) -> SharedDisk:
        made = SharedDisk.__new__(SharedDisk)
        made.medium, made.cache = dict(self.medium), dict(self.cache)
        made.unreadable, made.unwritable = set(self.unreadable), set(self.unwritable)
        return made

    def tables(self, nodes: int) -> tables.Loaded:
        return tables.load(CLUSTER_ID, self.sectors(layout.TABLES_LBA, layout.tables_blocks(nodes)))


def unwritten(lba: int) -> bytes:
    """What nobody has written: in the area of extents something else in every block, left by who had it before."""
    return bytes(512) if lba < layout.EXTENTS_LBA else lba.to_bytes(8, "little") * 64


class History:
    """All changes that have been decided on, in their order, and what the tables are after each."""

    def __init__(self, disk: SharedDisk, nodes: int) -> None:
        self._disk = disk
        self._nodes = nodes
        self.on_change: Callable[[Intent], None] = lambda _intent: None
        start = disk.tables(nodes).tables
        self.first = start.sequence
        self.changes: list[tuple[int, Intent]] = []  # (node, intent)
        self.states: list[dict[int, Disk]] = [{slot: one for slot, one in enumerate(start.disks) if one is not None}]

    def look(self, node: int) -> None:
        """That node has written its intent, or a part of it."""
        for copy in range(layout.COPIES):
            data = self._disk.read(layout.intent_lba(node) + copy, 1)
            try:
                frame = unseal(CLUSTER_ID, layout.RECORD_INTENT, node, data, layout.FORM)
            except Damaged:
                continue
            if frame is not None and frame.sequence > self.first + len(self.changes):
                self._decided(node, records.intent_in(frame))

    def _decided(self, node: int, intent: Intent) -> None:
        assert intent.sequence == self.first + len(self.changes) + 1, f"{intent} after {len(self.changes)} changes"
        state = dict(self.states[-1])
        if intent.disk is None:
            assert state.pop(intent.slot, None) is not None, f"{intent} of a slot that is free"
        else:
            state[intent.slot] = intent.disk
        owned(state.values())
        names = [disk.name for disk in state.values()]
        assert len(set(names)) == len(names), f"two virtual disks of one name: {names}"
        self.changes.append((node, intent))
        self.states.append(state)
        self.on_change(intent)


@dataclass
class Job:
    """A task of a user, and how it has ended."""

    node: int
    begun: int
    """Changes that had been decided on then."""
    outcome: Outcome | None = None
    ended: int = 0

    @property
    def done(self) -> bool:
        return self.outcome is not None


@dataclass
class Crash:
    """When a node dies: at which of its writes from now on, and what of that write is kept."""

    at: int
    kept: str = "none"


@dataclass
class Life:
    """One life of one node."""

    effects: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lane = Lane(self.effects)
        self.desk: LockDesk | None = None


TOP = 30


class Top(Subsystem):
    """The level above, as a file system's would be."""

    def __init__(self, world: VdmWorld, number: int) -> None:
        super().__init__("top", order=TOP, real=True)
        self._world = world
        self._number = number

    def notify(self, notification: Notification) -> tuple[Position, ...]:
        if self._world.top_opens and any(self._is_own(at, "join") for at in notification.positions):
            return self._open(notification)
        held = [at for at in notification.positions if at.transition == "forced-leave" and self._world.top_waits]
        incarnation = self._world.nodes[self._number].incarnation
        self._world.top_held += [(self._number, incarnation, position) for position in held]
        return tuple(at for at in notification.positions if at not in held)

    def _is_own(self, position: Position, transition: str) -> bool:
        return position.subject == self._number and position.transition == transition

    def _open(self, notification: Notification) -> tuple[Position, ...]:
        """As a file system does when it is mounted: everything waits for that."""
        number, incarnation = self._number, self._world.nodes[self._number].incarnation

        def ended(outcome: Outcome) -> None:
            outcome.get()
            self._world.top_held += [(number, incarnation, position) for position in notification.positions]
            self._world.after(0, self._world.let_top_go)

        disks = self._world.disks(number)
        self._world.engines[number].start(disks.open(self._world.top_opens, recovery=True), ended)
        return ()


class VdmWorld(World):
    """As `World`, with VDM at level 20."""

    def __init__(self, seed: int = 1, options: Options | None = None, disk: SharedDisk | None = None) -> None:
        options = options or Options()
        self.disk = disk or SharedDisk(options.nodes)
        self.history = History(self.disk, options.nodes)
        self.lives: dict[int, Life] = {}
        self.levels_above: dict[int, VdmLevel] = {}
        self.engines: dict[int, Engine] = {}
        self.crashes: dict[int, Crash] = {}
        self.died_at: list[tuple[int, int]] = []  # (node, LBA of the write)
        self.writes: dict[int, int] = dict.fromkeys(range(options.nodes), 0)
        self.sizes: dict[int, list[int]] = {number: [] for number in range(options.nodes)}  # of each, in sectors
        self.commands = 0
        self.latency_ms_max = 3
        self.top_waits = False  # the level above takes its time for the recovery after a death
        self.top_opens = ""  # the virtual disk that it opens in its own join
        self.top_held: list[tuple[int, int, Position]] = []
        super().__init__(seed, options)
        own = [VdmLevel(CLUSTER_ID, 0, options.nodes, Engine(Lane([]), lambda: None)), Top(self, 0)]  # type: ignore[arg-type,return-value]
        self.levels = Levels([*(one for one in self.levels if one.order < 20), *(one.level for one in own)])

    # -- users

    def disks(self, number: int) -> VirtualDisks:
        return self.levels_above[number].disks

    def begin(self, number: int, make: Callable[[VirtualDisks], Task[Any]]) -> Job:
        """A user of that node begins something."""
        job = Job(number, len(self.history.changes))

        def ended(outcome: Outcome) -> None:
            job.outcome = outcome
            job.ended = len(self.history.changes)

        level = self.nodes[number].level
        assert level is not None
        self.engines[number].start(make(self.disks(number)), ended)
        self._after_input(number, level)
        return job

    def do(self, number: int, make: Callable[[VirtualDisks], Task[Any]]) -> Any:
        """Its result; raises what it ended with."""
        job = self.begin(number, make)
        self.run_until(lambda: job.done)
        assert job.outcome is not None
        return job.outcome.get()

    def start_all(self) -> None:
        for number in range(self.options.nodes):
            self.power_on(number)
        self.run_until(lambda: self.quiet)

    def ready_above(self, number: int) -> bool:
        """Whether its join has come through VDM's level."""
        node, entry = self.nodes[number], self.view.entries[number]
        return node.level is not None and entry.incarnation == node.incarnation and entry.state is NodeState.JOINED

    def power_failure(self, *, lose: bool = True) -> None:
        """All at once; the disk's cache is lost too."""
        for number, node in enumerate(self.nodes):
            if node.level is not None:
                self.kill(number, 0)
        if lose:
            self.disk.lose(self.random)
        self.view = type(self.view)(
            self.view.epoch + 1,
            0,
            self.view.master,
            tuple(
                type(entry)(NodeState.INACTIVE, entry.incarnation, 0, 0, entry.reach, False)
                for entry in self.view.entries
            ),
        )
        self.acknowledged.clear()
        self.checks.view_is(self.view)

    # -- inner workings

    def _above(self, number: int, level: LockLevel) -> list[Subsystem]:
        life = self.lives[number] = Life()

        def desk() -> LockDesk:
            if life.desk is None:
                assert level.manager is not None, "a lock before the lock manager has joined"
                life.desk = LockDesk(level.manager)
            return life.desk

        engine = self.engines[number] = Engine(life.lane, desk)
        above = self.levels_above[number] = VdmLevel(CLUSTER_ID, number, self.options.nodes, engine)
        return [above, Top(self, number)]

    def let_top_go(self) -> None:
        """The level above has recovered, on all nodes."""
        self.top_waits = False
        held, self.top_held = self.top_held, []
        for number, incarnation, position in held:
            participant = self.nodes[number].participant
            if participant is not None and self.nodes[number].incarnation == incarnation:
                participant.acknowledge(self._seat(participant, TOP), (position,))
                level = self.nodes[number].level
                assert level is not None
                self._after_input(number, level)

    def _tell_users(self, number: int, level: LockLevel, manager: LockManager) -> None:
        life, node = self.lives[number], self.nodes[number]
        if life.desk is not None:
            while life.desk.tell():
                pass
        commands, life.effects[:] = life.effects[:], []
        for command in commands:
            self._submit(number, level, life, command)
        participant = node.participant
        positions = self.levels_above[number].acknowledged()
        if participant is not None and positions and node.level is level:
            participant.acknowledge(self._seat(participant, 20), positions)
            told = frozenset(participant.acknowledged())
            self.after(self.random.randint(0, 20), lambda: self._heard_of(number, level, told))
        for receiver, payload in manager.datagrams():
            self._send(number, self.nodes[receiver], payload)

    def _tick(self, number: int, level: LockLevel) -> None:
        if self.nodes[number].level is level and self.nodes[number].frozen is None:
            self.levels_above[number].tick()
        super()._tick(number, level)

    def _submit(self, number: int, level: LockLevel, life: Life, command: Effect) -> None:
        self.commands += 1
        kept = "all"
        if isinstance(command, WriteSectors):
            self.writes[number] += 1
            self.sizes[number].append(len(command.data) // 512)
            crash = self.crashes.get(number)
            if crash is not None:
                crash.at -= 1
                if crash.at == 0:
                    del self.crashes[number]
                    self.died_at.append((number, command.lba))
                    kept = crash.kept
                    self._carry_out(number, command, kept)
                    self.after(0, lambda: self._die(number, level))
                    return

        def arrive() -> None:
            if self.lives[number] is not life or not self._may_write(number, level):
                answer = self._refused(command)
            else:
                answer = self._carry_out(number, command, kept)

            def come_back() -> None:
                life.lane.done(answer)
                self._after_input(number, level)

            self.after(self.random.randint(0, self.latency_ms_max), lambda: self._do(number, level, come_back))

        # What was sent arrives, also if its sender has died meanwhile: until the fence.
        self.after(self.random.randint(0, self.latency_ms_max), arrive)

    def _die(self, number: int, level: LockLevel) -> None:
        if self.nodes[number].level is level:
            self.kill(number)

    def _may_write(self, number: int, _level: LockLevel) -> bool:
        entry = self.view.entries[number]
        return entry.state not in (NodeState.FORCED_LEAVING, NodeState.INACTIVE)

    @staticmethod
    def _refused(command: Effect) -> Any:
        if isinstance(command, WriteSectors):
            return WriteDone(command.tag, False, conflict=True)
        if isinstance(command, ReadSectors):
            return ReadDone(command.tag, False, b"")
        assert isinstance(command, ScsiCommand)
        return ScsiDone(command.tag, 0x18)

    def _carry_out(self, number: int, command: Effect, kept: str) -> Any:
        if isinstance(command, WriteSectors):
            count = len(command.data) // 512
            blocks = range(command.lba, command.lba + count)
            if any(lba in self.disk.unwritable for lba in blocks):
                return WriteDone(command.tag, False)
            chosen = {
                "none": [],
                "all": list(range(count)),
                "first": [0],
                "last": [count - 1],
                "some": [place for place in range(count) if self.random.random() < 0.5],
            }[kept]
            self._check_owner(number, command)
            self.disk.write(command.lba, command.data, durable=command.durable, kept=chosen)
            self.disk.unreadable -= {command.lba + place for place in chosen}
            if command.lba == layout.intent_lba(number):
                self.history.look(number)
            return WriteDone(command.tag, True)
        if isinstance(command, ReadSectors):
            if any(lba in self.disk.unreadable for lba in range(command.lba, command.lba + command.count)):
                return ReadDone(command.tag, False, b"")
            return ReadDone(command.tag, True, self.disk.read(command.lba, command.count))
        assert isinstance(command, ScsiCommand)
        assert command.cdb == SYNCHRONIZE_CACHE
        self.disk.flush()
        return ScsiDone(command.tag, 0)

    def _check_owner(self, number: int, command: WriteSectors) -> None:
        """Intents are written by their node only; nothing before VDM's area is ever written."""
        assert command.lba >= layout.TABLES_LBA, f"a write at {command.lba}, which is not VDM's"
        if command.lba >= layout.EXTENTS_LBA:
            self._check_log(command.lba)
        intents = range(layout.intent_lba(0), layout.log_lba(0, 0))
        if command.lba in intents:
            assert command.lba == layout.intent_lba(number), f"node {number} writes an intent that is not its own"

    def _check_log(self, lba: int) -> None:
        """A copy of a mirror is written to only while a log has that region on the medium."""
        unit, within = divmod(lba - layout.EXTENTS_LBA, layout.UNIT_BLOCKS)
        for slot, disk in self.history.states[-1].items():
            before = 0
            for extent in (extent for copy in disk.copies for extent in copy if len(disk.copies) > 1):
                if extent.first <= unit < extent.first + extent.count:
                    block = (before % disk.units + unit - extent.first) * layout.UNIT_BLOCKS + within
                    assert self._logged(slot, disk.id, block), f"{disk.name}, block {block}: no log has its region"
                before += extent.count

    def _logged(self, slot: int, identity: int, block: int) -> bool:
        for node in range(self.options.nodes):
            data = self.disk.medium.get(layout.log_lba(node, slot))
            try:
                log = None if data is None else records.decode_log(CLUSTER_ID, node, slot, data)
            except (Damaged, ValueError):
                return True  # any region may be dirty
            if log is not None and log.id == identity and log.dirty >> (block // log.region_blocks) & 1:
                return True
        return False


def check(world: VdmWorld) -> None:
    """What must hold when nothing moves: the tables are whole and what was decided, and mirrors are equal."""
    loaded = world.disk.tables(world.options.nodes)
    assert loaded.repairs == (), f"left to be repaired: {[lba for lba, _ in loaded.repairs]}"
    found = {slot: disk for slot, disk in enumerate(loaded.tables.disks) if disk is not None}
    assert found == world.history.states[-1]
    assert loaded.tables.sequence == world.history.first + len(world.history.changes)
    for disk in found.values():
        if len(disk.copies) > 1:
            check_copies(world.disk, disk)


def check_copies(disk: SharedDisk, record: Disk) -> None:
    one, two = (contents(disk, record, copy) for copy in range(2))
    differ = [place // 512 for place in range(0, len(one), 512) if one[place : place + 512] != two[place : place + 512]]
    assert not differ, f"{record.name}: the copies differ in {len(differ)} blocks, the first {differ[0]}"


def contents(disk: SharedDisk, record: Disk, copy: int = 0) -> bytes:
    blocks = record.units * layout.UNIT_BLOCKS
    pieces = places(record.copies[copy], layout.UNIT_BLOCKS, 0, blocks)
    return b"".join(disk.read(layout.EXTENTS_LBA + lba, count) for lba, count in pieces)


def check_agreement(world: VdmWorld) -> None:
    """Every node that lives lists the same, and it is what the disk has."""
    loaded = world.disk.tables(world.options.nodes).tables
    wanted = sorted(disk.name for disk in loaded.disks if disk is not None)
    for node in world.nodes:
        if node.level is not None:
            listed = world.do(node.number, lambda disks: disks.list_all())
            assert [one.name for one in listed if not one.fixed] == wanted
            blocks = {one.name: one.blocks for one in listed if not one.fixed}
            assert blocks == {disk.name: disk.units * layout.UNIT_BLOCKS for disk in loaded.disks if disk is not None}
