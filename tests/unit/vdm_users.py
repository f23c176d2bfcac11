"""Users of virtual disks on every node, and the operator: what happens at random in `vdm_net`, and what has to come.

Each answer has to be explained by what had been decided on (`History`) at some moment between question and answer. What
a write said that had ended is what every read says afterwards; of one whose node died either the old or the new; and
after a power failure what was durable or flushed, or something later.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guestd.vdm import layout
from guestd.vdm.errors import BadSize, DiskInUse, NameTaken, NodeLeaves, NoRoom, UnknownDisk
from tests.unit.dlm_net import Options
from tests.unit.vdm_net import KEPT, Crash, Job, SharedDisk, VdmWorld, check, check_agreement

if TYPE_CHECKING:
    from guestd.tasks.steps import Task
    from guestd.vdm.manager import VirtualDisks
    from guestd.vdm.records import Intent
    from guestd.vdm.virtual_disk import VirtualDisk

NAMES = ("a", "b", "c", "d")
USERS = 2  # per node
RUN_BLOCKS = 16  # blocks in a row that belong to one user
DISK_SIZE = 8 << 20  # 2 MiB of extents: it fills up


@dataclass
class Block:
    """What a block of a virtual disk may say. durable: after a power failure too; visible: now; None: any of them."""

    durable: list[bytes]
    later: list[bytes] = field(default_factory=list)
    visible: bytes | None = None

    def may_be(self) -> list[bytes]:
        return [*self.durable, *self.later] if self.visible is None else [self.visible]


@dataclass
class User:
    """Somebody on a node, with one virtual disk open at most."""

    node: int
    number: int
    job: Job | None = None
    action: tuple[Any, ...] = ()
    volume: VirtualDisk | None = None
    wrote: dict[tuple[int, int], bytes] = field(default_factory=dict)
    ended: int = 0
    """How many jobs of all users had ended when its own began."""


@dataclass(frozen=True)
class Theme:
    """What a history is about: how often something happens between two pauses."""

    crash: float = 0.05
    kill: float = 0.02
    freeze: float = 0.01
    leave: float = 0.01
    power: float = 0.004
    steps: int = 150
    mirrored: float = 0.6
    write: float = 0.5


class Play:
    """One history."""

    def __init__(self, seed: int, theme: Theme) -> None:
        self.random = random.Random(seed)
        self.theme = theme
        options = Options(view_ms_max=self.random.choice([5, 150]), delay_ms_max=self.random.choice([2, 30]))
        self.world = VdmWorld(seed, options, SharedDisk(options.nodes, DISK_SIZE))
        self.world.history.on_change = self._changed
        self.users = [User(node, node * USERS + one) for node in range(options.nodes) for one in range(USERS)]
        self.blocks: dict[tuple[int, int], Block] = {}
        self.count = 0
        self.ended = 0
        self.calm = True  # nobody has died or left yet

    def run(self) -> None:
        self.world.start_all()
        for _ in range(self.theme.steps):
            self.world.run(self.random.choice([0, 1, 3, 10, 40]))
            self._take_answers()
            for user in self.users:
                if user.job is None and self.world.ready_above(user.node) and self.random.random() < 0.7:
                    self._begin(user)
            self._trouble()
        self._end()

    # -- users

    def _begin(self, user: User) -> None:
        kind, make, *rest = self._drawn(user)
        user.action = (kind, *rest)
        user.ended = self.ended
        user.job = self.world.begin(user.node, make)

    def _drawn(self, user: User) -> tuple[Any, ...]:
        roll = self.random.random()
        if user.volume is not None:
            return self._drawn_of(user, user.volume, roll)
        name = self.random.choice(NAMES)
        blocks = self.random.choice([1, 128, 300, 640, 1500])
        if roll < 0.2:
            mirrored = self.random.random() < self.theme.mirrored
            return "create", lambda disks: disks.create(name, blocks, mirrored=mirrored), name, blocks, mirrored
        if roll < 0.3:
            return "grow", lambda disks: disks.grow(name, blocks), name, blocks
        if roll < 0.35:
            return "shrink", lambda disks: disks.shrink(name, blocks), name, blocks
        if roll < 0.4:
            return "mirror", lambda disks: disks.mirror(name), name, 1
        if roll < 0.5:
            return "delete", lambda disks: disks.delete(name), name, 1
        if roll < 0.6:
            return "list", lambda disks: disks.list_all()
        return "open", lambda disks: disks.open(name), name, 1

    def _drawn_of(self, user: User, volume: VirtualDisk, roll: float) -> tuple[Any, ...]:
        if roll < self.theme.write:
            return self._write(user, volume)
        if roll < 0.75:
            first = self._own(user, volume)
            return "read", lambda _: volume.read(first, 1), volume.disk.id, first
        if roll < 0.85:
            return "flush", lambda _: volume.flush(), {key: one.visible for key, one in self.blocks.items()}
        return "close", lambda _: volume.close()

    def _own(self, user: User, volume: VirtualDisk) -> int:
        """The first of a run of blocks that nobody else writes to."""
        runs = volume.blocks // RUN_BLOCKS
        mine = [run for run in range(runs) if run % len(self.users) == user.number]
        return self.random.choice(mine) * RUN_BLOCKS

    def _write(self, user: User, volume: VirtualDisk) -> tuple[Any, ...]:
        first, count, durable = self._own(user, volume), self.random.randint(1, RUN_BLOCKS), self.random.random() < 0.5
        data = b""
        user.wrote = {}
        for block in range(first, first + count):
            self.count += 1
            sector = self.count.to_bytes(8, "big") * 64
            data += sector
            key = (volume.disk.id, block)
            user.wrote[key] = sector
            known = self.blocks.get(key)
            if known is not None:
                known.later.append(sector)
                known.visible = None
        return "write", lambda _: volume.write(first, data, durable=durable), durable

    # -- answers

    def _take_answers(self) -> None:
        for user in self.users:
            job = user.job
            if job is not None and job.outcome is not None:
                user.job = None
                self.ended += 1
                error = job.outcome.error
                if error is not None:
                    self._failed(user, job, error)
                else:
                    self._succeeded(user, job, job.outcome.result)

    def _succeeded(self, user: User, job: Job, result: Any) -> None:
        kind, *rest = user.action
        if kind in ("create", "grow", "shrink", "mirror", "delete"):
            mine = [
                intent
                for node, intent in self.world.history.changes[job.begun : job.ended]
                if node == user.node and intent.operation == kind
            ]
            assert mine or (kind in ("grow", "shrink") and self._some(job, lambda sizes: _is(sizes, *rest))), (
                user.action
            )
        elif kind == "list":
            found = {one.name: one.blocks for one in result if not one.fixed}
            assert self._some(job, lambda sizes: {name: size for name, (size, _) in sizes.items()} == found), found
        elif kind == "open":
            user.volume = result
            assert self._some(job, lambda sizes: rest[0] in sizes)
        elif kind == "close":
            user.volume = None
        elif kind == "write":
            for key, sector in user.wrote.items():
                self._wrote(key, sector, durable=rest[0])
        elif kind == "flush":
            for key, visible in rest[0].items():
                known = self.blocks.get(key)
                if known is not None and visible is not None and known.visible == visible:
                    known.durable, known.later = [visible], []
        elif kind == "read":
            known = self.blocks.get((rest[0], rest[1]))
            assert known is None or result in known.may_be(), f"{user}: {result[:8]!r}, not {known}"

    def _wrote(self, key: tuple[int, int], sector: bytes, *, durable: bool) -> None:
        known = self.blocks.get(key)
        if durable:
            self.blocks[key] = Block([sector], [], sector)
        elif known is not None:
            known.visible = sector
        else:  # what lay there before is anything
            self.blocks[key] = Block([], [sector], sector)

    def _failed(self, user: User, job: Job, error: Exception) -> None:
        kind, *rest = user.action
        if isinstance(error, NameTaken):
            assert self._some(job, lambda sizes: rest[0] in sizes)
        elif isinstance(error, UnknownDisk):
            assert self._some(job, lambda sizes: rest[0] not in sizes)
        elif isinstance(error, BadSize):
            wrong = {
                "grow": lambda sizes: rest[0] in sizes and sizes[rest[0]][0] > rest[1],
                "shrink": lambda sizes: rest[0] in sizes and sizes[rest[0]][0] < rest[1],
                "mirror": lambda sizes: rest[0] in sizes and sizes[rest[0]][1] == 2,
            }[kind]
            assert self._some(job, wrong), f"{user.action}: {error}"
        elif isinstance(error, NoRoom):
            units = self.world.disk.tables(self.world.options.nodes).tables.header.units
            used = [
                sum(disk.units * len(disk.copies) for disk in state.values())
                for state in self.world.history.states[job.begun : job.ended + 1]
            ]
            assert max(used) > units // 8, f"{user.action}: {error}"
        elif isinstance(error, DiskInUse):
            others = any(one is not user and (one.volume or one.job) for one in self.users)
            assert others or self.ended > user.ended + 1 or not self.calm, user.action
        elif isinstance(error, (ValueError, NodeLeaves)):
            assert not self.calm, f"{user.action}: {error}"  # its node leaves, and has closed what was open
            user.volume = None
        else:
            raise error

    def _some(self, job: Job, explains: Any) -> bool:
        """Whether a state between question and answer does."""
        return any(
            explains({disk.name: (disk.units * layout.UNIT_BLOCKS, len(disk.copies)) for disk in state.values()})
            for state in self.world.history.states[job.begun : job.ended + 1]
        )

    def _changed(self, intent: Intent) -> None:
        """What was beyond the end is gone."""
        if intent.operation == "shrink" and intent.disk is not None:
            end = intent.disk.units * layout.UNIT_BLOCKS
            for key in [key for key in self.blocks if key[0] == intent.disk.id and key[1] >= end]:
                del self.blocks[key]

    # -- the operator

    def _trouble(self) -> None:
        theme, world = self.theme, self.world
        number = self.random.randrange(len(world.nodes))
        node = world.nodes[number]
        roll = self.random.random()
        runs = world.ready_above(number) and node.frozen is None
        if runs and roll < theme.crash:
            world.crashes[number] = Crash(self.random.randint(1, 12), self.random.choice(KEPT))
        elif runs and roll < theme.crash + theme.kill:
            world.kill(number)
        elif runs and roll < theme.crash + theme.kill + theme.freeze:
            world.freeze(number)
            self._gone(number)
        elif runs and roll < theme.crash + theme.kill + theme.freeze + theme.leave:
            if not all(world.ready_above(one.number) for one in world.nodes):
                return
            self.calm &= not world.leave(number)
        elif roll > 1 - theme.power:
            self._power_failure()
        self._look_for_the_end_of_all()
        for one in world.nodes:
            if one.level is None:
                self._gone(one.number)
                if self.random.random() < 0.1:
                    world.power_on(one.number)

    def _look_for_the_end_of_all(self) -> None:
        """Nobody is left to recover: as after a power failure, but that the disk has kept what it had."""
        if not any(entry.state.live for entry in self.world.view.entries) and not self.calm:
            self.world.power_failure(lose=False)
            for number in range(len(self.world.nodes)):
                self._gone(number)

    def _gone(self, number: int) -> None:
        """Its users are no more; what they were writing may be there."""
        self.calm = False
        self.world.crashes.pop(number, None)
        for user in self.users:
            if user.node == number:
                user.job = user.volume = None

    def _power_failure(self) -> None:
        self.world.power_failure()
        for number in range(len(self.world.nodes)):
            self._gone(number)
        for known in self.blocks.values():
            known.visible = None
        for key in [key for key, known in self.blocks.items() if not known.durable]:
            del self.blocks[key]

    # -- the end

    def _end(self) -> None:
        """Everything is healed, and looked at."""
        world = self.world
        world.crashes.clear()
        world.run_until(lambda: all(node.frozen is None for node in world.nodes))
        world.run_until(self._settled)
        self._take_answers()
        for user in self.users:
            if user.volume is not None:
                volume = user.volume
                world.do(user.node, lambda _, volume=volume: volume.close())  # type: ignore[misc]
        check(world)
        check_agreement(world)
        for number in range(len(world.nodes)):
            assert world.disks(number).volumes == []
            world.do(number, self._read_all)
            assert world.levels_above[number].refused is None
            manager = world.nodes[number].manager
            assert manager is not None
            assert len(manager.client.locks) == 2, "locks are left"

    def _settled(self) -> bool:
        world = self.world
        self._look_for_the_end_of_all()
        for node in world.nodes:
            if node.level is None:
                self._gone(node.number)
                world.power_on(node.number)
        waiting = [
            user for user in self.users if user.job is not None and not user.job.done and world.ready_above(user.node)
        ]
        return not waiting and world.quiet and all(world.ready_above(node.number) for node in world.nodes)

    def _read_all(self, disks: VirtualDisks) -> Task[None]:
        for disk in self.world.history.states[-1].values():
            volume = yield from disks.open(disk.name)
            for block in range(volume.blocks):
                known = self.blocks.get((disk.id, block))
                if known is not None:
                    data = yield from volume.read(block, 1)
                    assert data in known.may_be(), f"{disk.name}, block {block}: {data[:8]!r}, not {known}"
            yield from volume.close()


def _is(sizes: dict[str, tuple[int, int]], name: str, blocks: int) -> bool:
    wanted = -(-blocks // layout.UNIT_BLOCKS) * layout.UNIT_BLOCKS
    return name in sizes and sizes[name][0] == wanted
