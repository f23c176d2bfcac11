"""Users of the file system on every node, an operator, and the judge.

Operations of all nodes run at once. Each is compared with the model at the moment at which it is merged, or refused,
with its locks held: that is an order in which one could have come after the other. When a node dies, what it had not
brought into its journal has not happened: the model is made anew without it. If an operation of another node had built
upon it, that would show there.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from guestd.sfs.block import Kind, unseal
from guestd.sfs.errors import Damaged, FsError
from guestd.sfs.filesystem import FileSystem
from guestd.sfs.journal import Journal, Transaction
from guestd.sfs.journal_form import decode_description
from guestd.sfs.operation import Operation, Place
from guestd.tasks.engine import Outcome
from tests.unit.dlm_net import Options
from tests.unit.sfs_disk import CachedDisk, Cut
from tests.unit.sfs_model import Model, Step, Walker, walk
from tests.unit.sfs_net import SfsWorld, Stack
from tests.unit.sfs_node import check

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

GONE = (errno.EIO, errno.ESHUTDOWN)


@dataclass
class Entry:
    """An operation that has changed something."""

    step: Step
    stack: Stack
    transaction: Transaction
    synced: bool = False


class Ledger:
    """All that has happened in one world, in order."""

    def __init__(self, world: SfsWorld) -> None:
        self.world = world
        self.opens: dict[int, list[Stack]] = {}
        self.uncertain: dict[int, None] = {}
        """Files without a name that may exist or not: somebody closes them, or died with them open."""
        self.model = Model(self.opens)
        self.entries: list[Entry] = []
        self.numbers: dict[int, int] = {}
        """Of transactions (by identity) that were begun to be written."""
        self.kept: list[Transaction] = []
        self.current: tuple[Step, Stack] | None = None
        self.ends: dict[int, tuple[Step, Stack]] = {}
        self.lost: dict[int, list[tuple[int, bytes]]] = {}
        self.lost_count = 0
        self.count = 0
        self.buried: list[Stack] = []
        self.walker = Walker(self.model, world.random, world.superblock.root)

    def expected(self, step: Step) -> int:
        """Carry it out on the model; the errno."""
        try:
            step.on_model(self.model)
        except FsError as why:
            return why.errno
        return 0

    def ended(self, step: Step, stack: Stack, number: int, transaction: Transaction | None) -> None:
        if stack in self.buried:
            return  # what it believes counts for nothing
        if number in GONE:
            assert stack.failure is not None or stack.level.leaving, f"{step.what}: {errno.errorcode[number]}"
            return
        expected = self.expected(step)
        self.count += 1
        # After a death nobody can tell whether a file is open somewhere until the recovery is over: it stays meanwhile.
        doubtful = errno.ESTALE in (expected, number) and (self.uncertain or self.buried)
        if expected != number and not doubtful:
            said, right = (errno.errorcode.get(one, "success") for one in (number, expected))
            raise AssertionError(f"node {stack.number}, {step.what}: {said}, not {right}")
        if number == 0 and step.opens is not None:
            self.opens.setdefault(step.opens, []).append(stack)
        if number == 0 and transaction is not None:
            self.entries.append(Entry(step, stack, transaction))

    # -- deaths

    def committed(self, stack: Stack, disk: CachedDisk) -> int:
        """The last transaction of that node that is in its journal, or was."""
        system = stack.system
        if system is None:
            return 1 << 64  # it has not begun, or has written everything back
        journal = system.journal
        known = journal._number
        under_way = self.numbers.get(id(journal._committing))
        if under_way is not None and journal._live is not journal._committing:
            known = under_way - 1
        superblock = system.superblock
        at = superblock.transaction(stack.number)
        try:
            found = decode_description(
                superblock, stack.number, unseal(superblock.uuid, Kind.TRANSACTION, at, disk.read(8 * at, 8))
            )
        except Damaged:
            return known
        images = [disk.read(8 * (at + 1 + place), 8) for place in range(len(found.images))]
        return max(known, found.number) if found.matches(images) else known

    def died(self, *stacks: Stack, disk: CachedDisk | None = None) -> None:
        """What they had not committed has not happened."""
        stacks = tuple(stack for stack in stacks if stack not in self.buried)
        self.buried += stacks
        last = {id(stack): self.committed(stack, disk or self.world.disk) for stack in stacks}
        kept = []
        for entry in self.entries:
            number = self.numbers.get(id(entry.transaction))
            if entry.stack in stacks and (number is None or number > last[id(entry.stack)]):
                assert not entry.synced, f"{entry.step.what} had been synced and is lost"
                self.lost_count += 1
                if entry.step.writes is not None:
                    file, offset, data = entry.step.writes
                    self.lost.setdefault(file, []).append((offset, data))
            else:
                kept.append(entry)
        for number, nodes in self.opens.items():
            if any(stack in nodes for stack in stacks):
                self.opens[number] = [stack for stack in nodes if stack not in stacks]
                self.uncertain[number] = None
        self.entries = kept
        self.model = Model(self.opens)
        for entry in kept:
            found = self.expected(entry.step)
            assert found in (0, errno.ESTALE), f"{entry.step.what} was built on what a dead node had not saved: {found}"

    def bytes_of(self, number: int) -> bytes:
        return self.model.things[number].data

    def may_be(self, number: int, place: int, byte: int) -> bool:
        """A byte that is not the model's: of an operation that was lost."""
        if number not in self.lost:
            return False
        return byte == 0 or any(
            offset <= place < offset + len(data) and data[place - offset] == byte for offset, data in self.lost[number]
        )


@contextmanager
def watched(ledger: Ledger) -> Iterator[None]:
    """The ledger hears of every operation of the world."""
    run, finish, write = Place.run, Operation.finish, Journal._write

    def watched_run(self: Place, body: Any, wants: Any) -> Task[Any]:
        current = ledger.current
        if current is None:
            return run(self, body, wants)
        step, stack = current

        def watched_body(operation: Operation) -> Task[Any]:
            try:
                result = yield from body(operation)
            except FsError as why:
                ledger.ended(step, stack, why.errno, None)
                raise
            ledger.ends[id(operation)] = (step, stack)
            if step.makes:
                walker_of(ledger).inodes[step.makes] = result.inode
            return result

        return run(self, watched_body, wants)

    def watched_finish(self: Operation) -> Task[None]:
        ended = ledger.ends.pop(id(self), None)
        yield from finish(self)
        if ended is not None:
            step, stack = ended
            changes = bool(self.changed or self.freed or self.pages.count)
            ledger.ended(step, stack, 0, self.place.journal._running if changes else None)

    def watched_write(self: Journal, transaction: Transaction, pages: dict[int, bytes]) -> Task[None]:
        if transaction.blocks:
            ledger.numbers[id(transaction)] = self._number + 1
            ledger.kept.append(transaction)
        yield from write(self, transaction, pages)

    Place.run, Operation.finish, Journal._write = (  # type: ignore[method-assign]
        watched_run,
        watched_finish,
        watched_write,
    )
    try:
        yield
    finally:
        Place.run, Operation.finish, Journal._write = run, finish, write  # type: ignore[method-assign]


def walker_of(ledger: Ledger) -> Walker:
    ledger.walker.model = ledger.model
    return ledger.walker


@dataclass
class Users:
    """Everybody in one world."""

    world: SfsWorld
    at_once: int = 3
    """Operations of a node at the same time."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.world.seed ^ 0x5F5)
        self.ledger = Ledger(self.world)
        self.ledger.walker = Walker(self.ledger.model, self.random, self.world.superblock.root)
        self.world.on_death = self.ledger.died

    def act(self, number: int) -> None:
        """One operation of that node is begun."""
        if not self.world.usable(number):
            return
        stack = self.world.stacks[number]
        system = stack.system
        if system is None or stack.busy >= self.at_once:
            return
        stack.busy += 1
        what = self.random.random()
        if what < 0.1:
            self._sync(stack, system)
        elif what < 0.2:
            self._open_or_close(stack, system)
        elif what < 0.3:
            self._read(stack, system)
        else:
            self._step(stack, system)

    def _start(self, stack: Stack, task: Task[Any], then: Any = lambda outcome: None) -> None:
        def ended(outcome: Outcome) -> None:
            stack.busy -= 1
            if outcome.error is not None and not isinstance(outcome.error, FsError):
                raise outcome.error
            then(outcome)

        self.world.start(stack.number, task, ended)

    def _sync(self, stack: Stack, system: FileSystem) -> None:
        before = [entry for entry in self.ledger.entries if entry.stack is stack]

        def synced(outcome: Outcome) -> None:
            if outcome.error is None and stack not in self.ledger.buried:
                for entry in before:
                    entry.synced = True

        self._start(stack, system.sync(), synced)

    def _step(self, stack: Stack, system: FileSystem) -> None:
        walker = walker_of(self.ledger)
        step = walker.step(system)
        self._begin(stack, step)

    def _begin(self, stack: Stack, step: Step) -> None:
        self.ledger.current = (step, stack)
        try:
            if step.writes is not None:  # `write` itself is several operations
                number, offset, data = step.writes
                assert stack.system is not None
                task = stack.system._write(walker_of(self.ledger).inodes[number], offset, data, 99)
            else:
                task = step.on_system()
        finally:
            self.ledger.current = None
        self._start(stack, task)

    def _read(self, stack: Stack, system: FileSystem) -> None:
        """What is read is what the model has at that moment."""
        walker = walker_of(self.ledger)
        number = walker.pick("file")
        if self.ledger.model.things[number].kind != "file":
            self._start(stack, system.statfs())
            return
        ledger = self.ledger
        seen: list[bytes] = []

        def body(operation: Operation) -> Task[bytes]:
            from guestd.sfs import contents

            found = yield from contents.read(operation, walker.inodes[number], 0, 1 << 20)
            if stack not in ledger.buried and ledger.model.things[number].nlink:
                seen.append(found)
                right = ledger.bytes_of(number)
                assert len(found) == len(right), f"file {number} has {len(found)} bytes, not {len(right)}"
                for place, byte in enumerate(found):
                    assert byte == right[place] or ledger.may_be(number, place, byte), f"file {number}, byte {place}"
            return found

        self._start(stack, system._run(body, {}))

    def _open_or_close(self, stack: Stack, system: FileSystem) -> None:
        ledger = self.ledger
        mine = [number for number, nodes in ledger.opens.items() if stack in nodes]
        walker = walker_of(ledger)
        if mine and self.random.random() < 0.6:
            number = self.random.choice(mine)
            ledger.uncertain[number] = None
            ledger.opens[number].remove(stack)
            self._start(stack, system.release(walker.inodes[number]))
            return
        number = walker.pick("file")
        on_system = lambda: system.open(walker.inodes[number])  # noqa: E731
        self._begin(stack, Step(f"open {number}", lambda model: model.live(number), on_system, opens=number))

    # -- the end

    def power_failure(self) -> None:
        """All at once; the disk's cache loses what it may."""
        world = self.world
        stacks = [stack for stack in world.stacks.values() if stack.alive]
        for stack in stacks:
            stack.die()
        cut = Cut(world.disk.base, world.disk.log)
        cut.move_to(len(world.disk.log))
        image = cut.left(self.random, self.random.choice([0.0, 0.5, 0.9]), torn=False)
        assert check(image, world.blocks).wrong == []
        self.ledger.died(*stacks, disk=CachedDisk(image))
        world.power_failure(image)

    def finish(self) -> None:
        """Everybody is there; nobody does anything any more; everything is as the model says, on all nodes."""
        world = self.world
        for node in world.nodes:
            if node.level is None:
                world.power_on(node.number)
        world.run_until(self._whole, 120_000)
        ledger = self.ledger
        for number, nodes in list(ledger.opens.items()):
            for stack in list(nodes):
                nodes.remove(stack)
                if stack.alive:
                    world.run_task(stack.number, world.system(stack.number).release(walker_of(ledger).inodes[number]))
        tree = ledger.model.tree()
        files = ledger.model.files()
        for node in world.nodes:
            found, contents = walk(partial(world.run_task, node.number), world.system(node.number))
            assert found == tree, f"node {node.number} sees another tree"
            for path, data in contents.items():
                number = files[path]
                right = ledger.bytes_of(number)
                assert len(data) == len(right)
                wrong = [place for place in range(len(data)) if data[place] != right[place]]
                assert all(ledger.may_be(number, place, data[place]) for place in wrong), f"{path!r} from {wrong[0]} on"
        world.run_until(lambda: all(stack.engine.running_count == 0 for stack in world.stacks.values()))
        left = world.run_task(0, world.system(0).reap())
        assert left == 0, f"{left} orphans are left"
        for node in world.nodes:
            assert world.leave(node.number)
        world.run_until(lambda: all(node.level is None for node in world.nodes))
        report = check(world.disk.now, world.blocks)
        assert (report.wrong, report.notes) == ([], [])

    def _whole(self) -> bool:
        """All are there, and power is switched on again for who failed."""
        for node in self.world.nodes:
            if node.level is None:
                self.world.power_on(node.number)
        running = [stack for stack in self.world.stacks.values() if stack.alive]
        for stack in running:
            if stack.system is None and stack.level.refused is not None:  # for an error of the disk, when it mounted
                self.world.do(stack, stack.level.mount_again)
        return self.world.all_usable() and all(not stack.busy for stack in running)


@dataclass(frozen=True)
class Theme:
    """What a history is about."""

    steps: int = 250
    kill: float = 0.02
    freeze: float = 0.005
    leave: float = 0.01
    power: float = 0.004
    disk_ms: tuple[int, int] = (0, 3)
    nodes: int = 3
    errors: float = 0.0
    loss: float = 0.0
    pauses_ms: tuple[int, ...] = (0, 1, 5, 20)
    acts: tuple[int, ...] = (1, 1, 2, 4)
    """Operations that are begun, between two pauses."""


QUIET = Theme(kill=0, freeze=0, leave=0, power=0)
EVERYTHING = Theme()
DEATHS = Theme(kill=0.06, freeze=0, leave=0, power=0)
SLOW = Theme(steps=400, kill=0.05, freeze=0.02, leave=0.03, power=0.01, disk_ms=(0, 20), loss=0.05)
LONG = Theme(
    steps=300, kill=0.015, freeze=0.003, leave=0.005, power=0.001, pauses_ms=(5, 20, 60, 150), acts=(2, 4, 8), loss=0.02
)
POWER = Theme(kill=0, freeze=0, leave=0, power=0.03)
CROWD = Theme(kill=0.05, freeze=0.01, leave=0.03, power=0.005, nodes=6)
ERRORS = Theme(kill=0.01, freeze=0, leave=0.01, power=0.002, errors=0.005)
SLOW_REPLAYS = Theme(
    steps=150,
    kill=0.03,
    freeze=0,
    leave=0,
    power=0,
    disk_ms=(0, 25),
    pauses_ms=(5, 20, 60, 150),
    acts=(2, 4, 8),
)
THEMES = (SLOW_REPLAYS, EVERYTHING, DEATHS, SLOW, LONG, POWER, CROWD, ERRORS)


def history(seed: int, theme: Theme = EVERYTHING) -> Users:
    """One world from beginning to end."""
    options = Options(nodes=theme.nodes, loss=theme.loss, double=theme.loss, view_ms_max=30, delay_ms_max=3)
    world = SfsWorld(seed, options, disk_ms=theme.disk_ms, errors=theme.errors)
    users = Users(world)
    with watched(users.ledger):
        try:
            for number in range(theme.nodes):
                world.power_on(number)
            world.run_until(world.all_usable)
            for _ in range(theme.steps):
                number = users.random.randrange(theme.nodes)
                _operate(users, theme, number)
                for _ in range(users.random.choice(theme.acts)):
                    users.act(users.random.randrange(theme.nodes))
                world.run(users.random.choice(theme.pauses_ms))
            world.errors = 0.0
            users.finish()
        except AssertionError as why:
            raise AssertionError(f"seed {seed}: {why}") from why
        finally:
            for stack in world.all_stacks:
                stack.engine.stop()
    return users


def _operate(users: Users, theme: Theme, number: int) -> None:
    world = users.world
    node = world.nodes[number]
    what = users.random.random()
    if node.level is None:
        if what < 0.3:
            world.power_on(number)
        return
    if what < theme.power:
        users.power_failure()
        return
    if not world.usable(number) and what > theme.kill:
        return
    others = [one.number for one in world.nodes if one.number != number and world.usable(one.number)]
    if not others:
        return
    if what < theme.kill:
        world.kill(number, users.random.randint(0, 100))
    elif what < theme.kill + theme.freeze:
        world.freeze(number)
    elif what < theme.kill + theme.freeze + theme.leave:
        users.ledger.uncertain.update(dict.fromkeys(users.ledger.opens))
        world.leave(number)
