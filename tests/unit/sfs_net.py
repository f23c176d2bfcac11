"""N nodes with the file system on one disk: real lock managers and levels, under the transitions of `dlm_net`.

Each node has an engine over a queue of disk commands, as in guestd. The disk is `sfs_disk`'s; a command takes effect
some time after it was sent, and is answered some time after that. A node that dies leaves the command under way done,
undone or torn; one that was forced out is fenced: the disk refuses what it sends.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guestd.core.disk import Disk
from guestd.core.effects import Effect, ReadSectors, ScsiCommand, WriteSectors
from guestd.core.inputs import ReadDone, ScsiDone, WriteDone
from guestd.dlm.desk import LockDesk
from guestd.dlm.level import LockLevel
from guestd.dlm.manager import LockManager
from guestd.membership import view as views
from guestd.membership.position import Position
from guestd.membership.states import NodeState
from guestd.membership.view import View
from guestd.sfs.filesystem import FileSystem
from guestd.sfs.level import ORDER, SfsLevel
from guestd.sfs.superblock import Superblock
from guestd.tasks.engine import Engine, Outcome
from guestd.transition.subsystem import Subsystem
from guestd.vdm.volume import Volume
from tests.unit.dlm_net import Options, World
from tests.unit.sfs_disk import SECTOR, CachedDisk, sectors
from tests.unit.sfs_disk import Write as LoggedWrite
from tests.unit.sfs_node import formatted

if TYPE_CHECKING:
    from guestd.tasks.steps import Task


class _NoChecks:
    """In place of the lock manager's own: here the file system is the judge."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_arguments: None


class Stack:
    """One life of a node, above the lock manager."""

    def __init__(self, world: SfsWorld, number: int, locks: LockLevel) -> None:
        self.world = world
        self.number = number
        self.incarnation = world.nodes[number].incarnation
        self.locks = locks
        self.effects: list[Effect] = []
        self.queue = Disk(self.effects)
        self.engine = Engine(self.queue, self.desk)
        self._desk: LockDesk | None = None
        self.failure: str | None = None
        self.busy = 0  # operations of users
        self.under_way: WriteSectors | None = None
        volume = Volume(0, 8 * world.blocks)
        self.level = SfsLevel(number, self.engine.start, lambda: volume, self._failed)

    def desk(self) -> LockDesk:
        if self._desk is None:
            assert self.locks.manager is not None
            self._desk = LockDesk(self.locks.manager)
        return self._desk

    @property
    def system(self) -> FileSystem | None:
        return self.level.file_system

    @property
    def alive(self) -> bool:
        return self.world.nodes[self.number].level is self.locks

    def _failed(self, why: str) -> None:
        self.failure = why

    # -- the disk

    def send(self) -> None:
        """Take the commands that the node has given, at most one is out at a time."""
        taken, self.effects[:] = self.effects[:], []
        world = self.world
        for effect in taken:
            if isinstance(effect, WriteSectors):
                self.under_way = effect
            delay_ms = world.random.randint(*world.disk_ms)
            world.after(delay_ms, lambda effect=effect: self._reach(effect))  # type: ignore[misc]

    def _reach(self, effect: Effect) -> None:
        """The command is at the disk."""
        if not self.alive:
            return
        world = self.world
        fenced = world.is_fenced(self.number, self.incarnation)
        answer: WriteDone | ReadDone | ScsiDone
        if isinstance(effect, WriteSectors):
            self.under_way = None
            failed = world.random.random() < world.errors
            if not fenced:
                self._write(effect, world.random.choice([0.0, 0.5, 1.0]) if failed else 1.0)
            answer = WriteDone(effect.tag, not (fenced or failed), fenced)
        elif isinstance(effect, ReadSectors):
            answer = ReadDone(effect.tag, True, world.disk.read(effect.lba, effect.count))
        else:
            assert isinstance(effect, ScsiCommand)
            if not fenced:
                world.disk.flush(self.number)
            answer = ScsiDone(effect.tag, 24 if fenced else 0)
        world.after(world.random.randint(0, 2), lambda: world.do(self, lambda: self.queue.done(answer)))

    def die(self) -> None:
        """The command under way has done something, all or nothing."""
        self.engine.stop()
        effect, self.under_way = self.under_way, None
        if effect is None or self.world.is_fenced(self.number, self.incarnation):
            return
        self._write(effect, self.world.random.choice([0.0, 0.5, 1.0]))

    def _write(self, effect: WriteSectors, share: float) -> None:
        """share: of the sectors, that reach the disk."""
        write = LoggedWrite(effect.lba, effect.data, effect.durable, self.number)
        if share == 1.0:
            self.world.disk.write(effect.lba, effect.data, durable=effect.durable, node=self.number)
            return
        for lba, data in sectors(write):
            if self.world.random.random() < share:
                self.world.disk.write(lba, data, durable=effect.durable, node=self.number)


@dataclass
class SfsWorld(World):
    """`stacks`: those of the nodes that run."""

    options: Options = field(default_factory=lambda: Options(nodes=3, view_ms_max=30, delay_ms_max=3))
    blocks: int = 3000
    journal_blocks: int = 40
    disk_ms: tuple[int, int] = (0, 3)
    errors: float = 0.0
    """How many of the writes fail, whatever of it they have done."""

    def __post_init__(self) -> None:
        self.stacks: dict[int, Stack] = {}
        self.all_stacks: list[Stack] = []
        self.superblock: Superblock
        self.superblock, base = formatted(self.blocks, self.options.nodes, self.journal_blocks)
        self.disk = CachedDisk(base)
        self.on_death: Callable[[Stack], object] = lambda _: None
        self.random = random.Random(self.seed)
        super().__post_init__()
        self.checks = _NoChecks()  # type: ignore[assignment]

    def sample_above(self) -> Subsystem:
        return SfsLevel(0, lambda *_: None, lambda: None, lambda _: None)

    def _above(self, number: int, level: LockLevel) -> list[Subsystem]:
        stack = self.stacks[number] = Stack(self, number, level)
        self.all_stacks.append(stack)
        return [stack.level]

    def is_fenced(self, number: int, incarnation: int) -> bool:
        entry = self.view.entries[number]
        return entry.incarnation > incarnation or (
            entry.incarnation == incarnation and entry.state in (NodeState.FORCED_LEAVING, NodeState.INACTIVE)
        )

    def _tell_users(self, number: int, level: LockLevel, manager: LockManager) -> None:
        """To the tasks; they may have asked for more."""
        stack = self.stacks[number]
        while stack.desk().tell() or stack.effects:
            stack.send()
        for receiver, payload in manager.datagrams():
            self._send(number, self.nodes[receiver], payload)
        positions: tuple[Position, ...] = stack.level.acknowledged()
        participant = self.nodes[number].participant
        if positions and participant is not None:
            participant.acknowledge(self._seat(participant, ORDER), positions)
            self._after_input(number, level)
        if stack.failure is not None:
            self.kill(number)

    def do(self, stack: Stack, action: Callable[[], None]) -> None:
        """An input of that node."""

        def acted() -> None:
            action()
            self._after_input(stack.number, stack.locks)

        self._do(stack.number, stack.locks, acted)

    def start(self, number: int, task: Task[Any], then: Callable[[Outcome], None]) -> None:
        stack = self.stacks[number]
        self.do(stack, lambda: stack.engine.start(task, then))

    def run_task(self, number: int, task: Task[Any], within_ms: int = 60_000) -> Any:
        """Its result; the world goes on meanwhile."""
        outcomes: list[Outcome] = []
        self.start(number, task, outcomes.append)
        self.run_until(lambda: outcomes, within_ms)
        return outcomes[0].get()

    def system(self, number: int) -> FileSystem:
        found = self.stacks[number].system
        assert found is not None, self.stacks[number].level.refused
        return found

    def usable(self, number: int) -> bool:
        """Whether users of that node may use the file system: its join has passed the level."""
        stack = self.stacks.get(number)
        if stack is None or not stack.alive or stack.level.leaving:
            return False
        if stack.system is None:
            self.do(stack, stack.level.mount_again)  # as guestd does every few seconds
            return False
        node, entry = self.nodes[number], self.view.entries[number]
        return node.frozen is None and entry.is_life(node.incarnation) and entry.state is NodeState.JOINED

    def kill(self, number: int, noticed_ms: int | None = None) -> None:
        stack = self.stacks[number]
        stack.die()
        super().kill(number, noticed_ms)
        self.on_death(stack)

    def _commit(self, view: View) -> None:
        super()._commit(view)
        for number, stack in list(self.stacks.items()):
            entry = view.entries[number]
            if entry.incarnation == stack.incarnation and entry.state is NodeState.FORCED_LEAVING:
                self.on_death(stack)

    def all_usable(self) -> bool:
        return all(self.usable(node.number) for node in self.nodes)

    def power_failure(self, image: dict[int, bytes]) -> None:
        """All nodes are gone, and the cache; a new cluster finds this on the medium."""
        for node in self.nodes:
            node.level = node.participant = node.frozen = None
        self.stacks.clear()
        self._queue.clear()
        self.acknowledged.clear()
        self.view = views.empty(self.options.nodes)
        self.disk = CachedDisk(image)
        self.step()

    def described(self) -> str:
        lines = [super().described()]
        for number, stack in self.stacks.items():
            lines.append(f"stack {number}: {stack.engine.running_count} tasks, {stack.level.refused}, {stack.failure}")
        return "\n".join(lines)


__all__ = ["SECTOR", "SfsWorld", "Stack", "View"]
