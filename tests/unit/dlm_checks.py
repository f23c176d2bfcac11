"""The sequential model of locks and value blocks, and what must hold at every event of `dlm_net`.

A user holds a lock from the moment at which it is told so, up to the moment at which it asks for less. So what this
looks at is what users rely on, not what some master believes.

* Exclusion: no two locks on a resource are held in modes that are not compatible. What a dead node held counts as held
  until its recovery has come through all levels, for all but those that serve the recovery (A13).
* Value block: who is granted PR, PW or EX, and told that the value is valid, is told the last that was left; or zeros,
  if since then there was a moment at which nobody had any lock on the resource.
* Validity: the value is not valid after the death of a node that held PW or EX, until somebody leaves a new one (A24);
  and it is valid if nobody has died.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guestd.dlm.modes import PROTECTED, WRITES, Mode, are_compatible, common
from guestd.dlm.notices import Denied, Gone, Granted, Notice
from guestd.dlm.resource import NO_VALUE
from guestd.membership.states import NodeState
from guestd.membership.view import View

if TYPE_CHECKING:
    from guestd.dlm.names import Name
    from tests.unit.dlm_net import World


class Violation(AssertionError):
    """A claim does not hold."""


@dataclass
class Holding:
    """What a user believes to hold."""

    name: Name
    mode: Mode
    recovery: bool = False


@dataclass
class Block:
    """The value block of the model."""

    value: bytes = NO_VALUE
    freed: bool = False  # since it was last written
    lost: bool = False  # somebody died who could have written


class Checks:
    """Told of everything by the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.held: dict[tuple[int, int], Holding] = {}  # (node, lock)
        self.dead: dict[tuple[int, int], list[Holding]] = {}  # life -> what it held, until its recovery is over
        self.exist: dict[tuple[int, int], Name] = {}  # (node, lock) that was granted and is not released
        self.interest: dict[tuple[int, int], list[Name]] = {}  # life -> names on which it had locks when it died
        self.blocks: dict[Name, Block] = {}
        self.deaths = 0
        self.overlaps = 0  # leaves beside joins: who joins may miss the value blocks of who leaves
        self.grants = 0

    # -- what users do

    def asks_less(self, node: int, lock: int, mode: Mode | None, value: bytes | None) -> None:
        """It gives the lock up, or converts it; before the lock manager is asked."""
        holding = self.held[node, lock]
        if value is not None:
            assert holding.mode in WRITES
            block = self.block(holding.name)
            block.value, block.freed, block.lost = value, False, False
        if mode is None:
            del self.held[node, lock]
            del self.exist[node, lock]  # the master may have let it go long before its user is told
            self._look_for_freed()
        else:
            holding.mode = common(holding.mode, mode)

    # -- what they are told

    def noticed(self, node: int, notice: Notice) -> None:
        incarnation = self._world.nodes[node].incarnation
        entry = self._world.view.entries[node]
        if (node, incarnation) in self.dead or not entry.is_life(incarnation):
            return  # a zombie believes what it likes: the disk refuses what it does
        if isinstance(notice, Granted):
            self._granted(node, notice)
        elif isinstance(notice, Denied) and notice.mode is not None:
            self.held[node, notice.lock].mode = notice.mode
        elif isinstance(notice, (Denied, Gone)):
            self.exist.pop((node, notice.lock), None)
        self._look_for_freed()

    def _granted(self, node: int, notice: Granted) -> None:
        manager = self._world.nodes[node].manager
        assert manager is not None
        lock = manager.client.locks[notice.lock]
        holding = Holding(lock.name, notice.mode, lock.recovery)
        self.grants += 1
        for (other, number), held in self.held.items():
            same = (other, number) == (node, notice.lock)
            if not same and held.name == holding.name and not are_compatible(held.mode, holding.mode):
                raise Violation(
                    f"lock exclusion: node {node} lock {notice.lock} is granted {holding}, "
                    f"which node {other} holds as lock {number}: {held}"
                )
        for life, holdings in self.dead.items():
            for held in holdings:
                if held.name == holding.name and not holding.recovery and not are_compatible(held.mode, holding.mode):
                    raise Violation(
                        f"before recovery: node {node} lock {notice.lock} is granted {holding}, "
                        f"which {life} held when it died: {held}"
                    )
        self.held[node, notice.lock] = holding
        self.exist[node, notice.lock] = lock.name
        self._value(node, notice, self.block(lock.name))

    def _value(self, node: int, notice: Granted, block: Block) -> None:
        if not notice.valid:
            if not self.deaths and not self.overlaps:
                raise Violation(f"validity: node {node} is told {notice}, though nobody has died")
            return
        zeros = block.freed and notice.value == NO_VALUE
        if notice.mode not in PROTECTED or zeros:
            return
        if block.lost:
            raise Violation(f"validity: node {node} is told {notice} as valid, after the death of its last writer")
        if notice.value != block.value:
            raise Violation(f"value block: node {node} is told {notice}, the last that was left is {block}")

    def block(self, name: Name) -> Block:
        return self.blocks.setdefault(name, Block())

    # -- what becomes of nodes

    def died(self, node: int) -> None:
        """It is dead, or as good as."""
        incarnation = self._world.nodes[node].incarnation
        entry = self._world.view.entries[node]
        manager = self._world.nodes[node].manager
        held = {key: holding for key, holding in self.held.items() if key[0] == node}
        exist = [key for key in self.exist if key[0] == node]
        names = [self.exist.pop(key) for key in exist]
        for key in held:
            del self.held[key]
        self.deaths += 1
        if not entry.is_life(incarnation) or manager is None:
            return
        self.dead[node, incarnation] = list(held.values())
        self.interest[node, incarnation] = names
        for holding in held.values():
            if holding.mode in WRITES:
                self.block(holding.name).lost = True

    def view_is(self, view: View) -> None:
        """Recoveries that are over."""
        states = {entry.state for entry in view.entries}
        self.overlaps += NodeState.LEAVING in states and NodeState.JOINING in states
        for life in list(self.dead):
            node, incarnation = life
            entry = view.entries[node]
            if entry.incarnation != incarnation or entry.state is NodeState.INACTIVE:
                del self.dead[life]
                del self.interest[life]
        self._look_for_freed()

    def _look_for_freed(self) -> None:
        """Resources on which nobody has any lock: their value blocks go with them."""
        wanted = {*self.exist.values(), *(name for names in self.interest.values() for name in names)}
        for name, block in self.blocks.items():
            if name not in wanted:
                block.freed = True
                block.lost = False
