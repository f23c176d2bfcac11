"""Users of locks on every node, and the operator: what happens at random in `dlm_net`, and how a history ends.

In the end all faults are healed, users ask for nothing more, and whoever is told that it is in somebody's way gives up.
Then everything that was asked for must be answered, by granting or by a deadlock's victim; when all is given up,
nothing may be left anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from guestd.dlm.locks import LockState
from guestd.dlm.manager import LockManager
from guestd.dlm.messages import VALUE_SIZE, Reason
from guestd.dlm.modes import WRITES, Mode, are_compatible, is_down
from guestd.dlm.notices import Blocks, Denied, Notice
from guestd.membership.states import NodeState
from tests.unit.dlm_checks import Violation
from tests.unit.dlm_net import Node, Options, World

BELOW = [b"x", b"y"]
MODES = list(Mode)
OWNERS = 3


@dataclass(frozen=True)
class Theme:
    """What a history is about."""

    roots: int = 5
    modes: tuple[Mode, ...] = tuple(MODES)
    kill: float = 0.4
    freeze: float = 0.15
    leave: float = 0.25
    trouble: float = 0.4
    """How often the operator does something, between two pauses."""
    troubles: tuple[int, ...] = (0, 1, 3, 6, 12)
    """How often in all; one of these is drawn."""
    pauses_ms: tuple[int, ...] = ()
    """Drawn if there are none."""
    nodes: int = 0
    """By the seed if there are none."""
    steps_min: int = 5
    polite: tuple[float, ...] = (0, 0.5, 0.9)
    endings: float = 0.0
    """How often a program ends with its lock instead of giving it up, or keeps it while its node leaves."""


EVERYTHING = Theme()
DEATHS = Theme(
    roots=2,
    modes=(Mode.NL, Mode.PR, Mode.EX, Mode.EX),
    kill=0.8,
    freeze=0.0,
    leave=0.0,
    trouble=0.5,
    troubles=(8,),
    pauses_ms=(200, 800, 2000),
    steps_min=30,
    polite=(0, 0.3),
)
"""Of those who hold EX, with others who are interested in the value."""
LEAVES = Theme(
    roots=3, modes=(Mode.NL, Mode.CR, Mode.EX), kill=0.0, freeze=0.0, leave=1.0, troubles=(6,), pauses_ms=(200, 800)
)
"""And nobody dies, so no value may be lost."""
ENDINGS = Theme(
    roots=2, modes=(Mode.NL, Mode.NL, Mode.PW, Mode.EX), kill=0.0, freeze=0.0, leave=1.0, troubles=(6,), endings=0.6
)
"""Nobody dies, and values are lost all the same."""
CROWDS = Theme(trouble=0.9, kill=0.5, leave=0.4, troubles=(12, 25), pauses_ms=(30, 200, 700), nodes=5, steps_min=40)
"""Changes of the members that overlap."""
THEMES = (EVERYTHING, DEATHS, LEAVES, CROWDS)


@dataclass
class Users:
    """Everybody who uses locks in one world."""

    world: World
    theme: Theme = EVERYTHING
    polite: float = 0.7
    """How often somebody who is in the way gives up at once, before the end."""
    ending: bool = False
    leaving: set[int] = field(default_factory=set)
    victims: int = 0
    writes: int = 0

    def __post_init__(self) -> None:
        self.world.on_notice = self.noticed

    # -- what they do

    def act(self, number: int) -> None:
        """One thing on that node."""
        world = self.world
        if not world.ready(number) or number in self.leaving:
            return
        manager = world.nodes[number].manager
        assert manager is not None
        locks = list(manager.client.locks.values())
        what = world.random.random()
        if what < 0.45 and len(locks) < 6:
            self._request(number, manager)
        elif locks:
            lock = world.random.choice(locks)
            if lock.waits and what > 0.9:
                world.act(number, lambda m: m.cancel(lock.number))
            elif lock.state is LockState.GRANTED and what < 0.7:
                self.convert(number, manager, lock.number, world.random.choice(self.theme.modes))
            elif lock.state is LockState.GRANTED and self._is_an_ending():
                self.end(number, manager, lock.number)
            elif lock.state is LockState.GRANTED:
                self.release(number, manager, lock.number)

    def _request(self, number: int, manager: LockManager) -> None:
        randomness = self.world.random
        owner, mode = randomness.randrange(OWNERS), randomness.choice(self.theme.modes)
        noqueue = randomness.random() < 0.2
        parents = [lock for lock in manager.client.locks.values() if lock.mode is not None and len(lock.name) < 3]
        if parents and randomness.random() < 0.3:
            above = randomness.choice(parents)
            if above.state in (LockState.GRANTED, LockState.CONVERTING):
                name = (*above.name, randomness.choice(BELOW))
                self.world.act(number, lambda m: m.lock(owner, name, mode, parent=above.number, noqueue=noqueue))
                return
        name = (bytes([ord("a") + randomness.randrange(self.theme.roots)]),)
        self.world.act(number, lambda m: m.lock(owner, name, mode, noqueue=noqueue))

    def convert(self, number: int, manager: LockManager, lock: int, mode: Mode) -> None:
        held = manager.client.locks[lock].mode
        assert held is not None
        value = self._value() if held in WRITES and is_down(held, mode) and self.world.random.random() < 0.7 else None
        noqueue = self.world.random.random() < 0.2
        self.world.checks.asks_less(number, lock, mode, value)
        self.world.act(number, lambda m: m.convert(lock, mode, noqueue=noqueue, value=value))

    def release(self, number: int, manager: LockManager, lock: int) -> None:
        """With everything below it first."""
        client = manager.client
        if any(one.parent == lock for one in client.locks.values()):
            return
        value = self._value() if client.locks[lock].mode in WRITES and self.world.random.random() < 0.7 else None
        self.world.checks.asks_less(number, lock, None, value)
        self.world.act(number, lambda m: m.unlock(lock, value=value))

    def _is_an_ending(self) -> bool:
        return self.theme.endings > 0 and self.world.random.random() < self.theme.endings

    def end(self, number: int, manager: LockManager, lock: int) -> None:
        """A program ends with its lock."""
        client = manager.client
        if not any(one.parent == lock for one in client.locks.values()):
            self.world.checks.ends(number, lock, client.locks[lock].name)
            self.world.act(number, lambda m: m.unlock(lock, invalidate=True))

    def _value(self) -> bytes:
        self.writes += 1
        return self.writes.to_bytes(VALUE_SIZE, "big")

    # -- what they hear

    def noticed(self, number: int, notice: Notice) -> None:
        if isinstance(notice, Denied) and notice.reason is Reason.DEADLOCK:
            self.victims += 1
        if isinstance(notice, Blocks):
            self.give_way(number, notice)

    def give_way(self, number: int, notice: Blocks) -> None:
        """Convert down to what lets the other one in, mostly; or do nothing, and the other one waits."""
        world = self.world
        manager = world.nodes[number].manager
        if manager is None or not world.ready(number) or (not self.ending and world.random.random() > self.polite):
            return
        lock = manager.client.locks.get(notice.lock)
        if lock is None or lock.mode is None:
            return
        if lock.state is not LockState.GRANTED:  # when that is over, it thinks again
            if self.ending and lock.state is LockState.CONVERTING:
                world.after(100, lambda: self._again(number, manager, notice))
            return
        modes = [mode for mode in MODES if is_down(lock.mode, mode) and are_compatible(mode, notice.mode)]
        if not are_compatible(lock.mode, notice.mode):
            self.convert(number, manager, notice.lock, modes[-1])

    def _again(self, number: int, manager: LockManager, notice: Blocks) -> None:
        if self.world.nodes[number].manager is manager and self.world.nodes[number].frozen is None:
            self.give_way(number, notice)

    # -- the operator

    def operate(self, number: int) -> None:
        """Switch on what is off; kill, freeze, or take out in order what runs."""
        world = self.world
        node = world.nodes[number]
        what = world.random.random()
        if node.level is None:
            world.power_on(number)
        elif node.frozen is None and node.admitted and world.view.entries[number].is_life(node.incarnation):
            if not any(self._stays(one) for one in world.nodes if one is not node):
                return  # somebody has to recover
            theme = self.theme
            if what < theme.kill:
                world.kill(number)
            elif what < theme.kill + theme.freeze:
                world.freeze(number)
            elif what < theme.kill + theme.freeze + theme.leave:
                self.take_out(number)

    def _stays(self, node: Node) -> bool:
        """Whether it is a member that nothing is planned for."""
        entry = self.world.view.entries[node.number]
        joined = entry.is_life(node.incarnation) and entry.state is NodeState.JOINED
        return node.level is not None and node.frozen is None and joined and node.number not in self.leaving

    def take_out(self, number: int) -> None:
        """A graceful leave: its users give up everything first, as the levels above do, or they do not, as programs."""
        life = self.world.nodes[number].incarnation
        if number in self.leaving or self.world.view.entries[number].state is not NodeState.JOINED:
            return
        self.leaving.add(number)
        held_to_the_end = self._is_an_ending()

        def go_on() -> None:
            node = self.world.nodes[number]
            if node.incarnation != life or node.level is None or node.frozen is not None:
                self.leaving.discard(number)
                return
            if (held_to_the_end or self._emptied(number)) and self.world.leave(number):
                self.world.after(1, wait_for_the_end)
                return
            self.world.after(50, go_on)

        def wait_for_the_end() -> None:
            node = self.world.nodes[number]
            if node.incarnation == life and node.level is not None:
                self.world.after(50, wait_for_the_end)
            else:
                self.leaving.discard(number)

        go_on()

    def _emptied(self, number: int) -> bool:
        """Give up one thing more; whether nothing is left."""
        manager = self.world.nodes[number].manager
        if manager is None:
            return True
        for lock in list(manager.client.locks.values()):
            if lock.waits and lock.cancelled is None:
                self.world.act(number, partial(LockManager.cancel, lock=lock.number))
            elif lock.state is LockState.GRANTED:
                self.release(number, manager, lock.number)
        return not manager.client.locks

    # -- the end

    def finish(self) -> None:
        """Heal everything, and see that everything comes to its end."""
        world = self.world
        self.ending = True
        world.options.loss = 0
        world.cut.clear()
        world.run(6000)  # frozen nodes have ended, and leaves
        while not world.quiet:
            for node in world.nodes:
                if node.level is None:
                    world.power_on(node.number)
            world.run(1000)
            assert world.now_ms < 600_000, f"it does not come together: {world.described()}"
        for node in world.nodes:  # who was in the way and did nothing is asked again by nobody
            manager = node.manager
            assert manager is not None
            for entry in list(manager.mastery.entries.values()):
                entry.noticed.clear()
            for tree in list(manager.mastery.trees.values()):
                for resource in list(tree.values()):
                    manager.mastery.settle(resource)
            world.act(node.number, lambda _: None)
        world.run_until(self._all_answered, 30_000)
        world.run_until(self._all_given_up, 30_000)
        world.run(1000)
        self._nothing_left()

    def _all_answered(self) -> bool:
        return not any(
            lock.waits for node in self.world.nodes if node.manager for lock in node.manager.client.locks.values()
        )

    def _all_given_up(self) -> bool:
        empty = [self._emptied(node.number) for node in self.world.nodes]
        return all(empty)

    def _nothing_left(self) -> None:
        left = []
        for node in self.world.nodes:
            manager = node.manager
            assert manager is not None
            for what, found in (
                ("trees", manager.mastery.trees),
                ("entries", manager.mastery.entries),
                ("directory", manager.directory.masters),
                ("locks", manager.client.by_root),
                ("masters", manager.client.masters),
            ):
                if found:
                    left.append(f"node {node.number} has {what} left: {found}")
        if left:
            raise Violation("; ".join(left))


def history(seed: int, theme: Theme | None = None) -> Users:
    """One random history, from the first power on to the end; its theme by turns if none is named."""
    if theme is None:
        theme = THEMES[seed // 4 % len(THEMES)]
        if seed // 16 % 4 == 2:
            theme = replace(theme, endings=0.4)
    world = World(seed, Options(nodes=theme.nodes or 2 + seed % 4))
    options, randomness = world.options, world.random
    options.loss = randomness.choice([0, 0, 0.02, 0.2])
    options.double = randomness.choice([0, 0, 0.1])
    options.delay_ms_max = randomness.choice([1, 5, 60, 300])
    options.view_ms_max = randomness.choice([10, 150, 1500])
    options.above_ms_max = randomness.choice([10, 300, 3000])
    users = Users(world, theme, polite=randomness.choice(theme.polite))
    for node in world.nodes:
        world.power_on(node.number)
    troubles = randomness.choice(theme.troubles)
    pauses_ms = theme.pauses_ms or randomness.choice([(5, 30, 200, 800), (5, 30, 100)])
    for _ in range(randomness.randint(theme.steps_min, 60)):
        world.run(randomness.choice(pauses_ms))
        for _ in range(randomness.randint(0, 6)):
            users.act(randomness.randrange(options.nodes))
        if troubles and randomness.random() < theme.trouble:
            troubles -= 1
            users.operate(randomness.randrange(options.nodes))
    users.finish()
    return users
