"""A sequential model of locks and value blocks: what may be granted, by what the users of locks rely on (S7.1).

A user holds a lock from the moment at which it is told so, up to the moment at which it asks for less.

* Exclusion: no two locks on a resource are held in modes that are not compatible. What a dead node held counts as held
  until its recovery has come through all levels, for all but those that serve the recovery (A13).
* Value block: who is granted PR, PW or EX, and told that the value is valid, is told the last that was left; or zeros,
  if since then there was a moment at which nobody had any lock on the resource.
* Validity: the value is not valid after the end of who held PW or EX, be it the death of its node, its leave, or the
  end of the program, until somebody leaves a new one (A24); and it is valid if nobody has ended so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from guestd.dlm.modes import PROTECTED, WRITES, Mode, are_compatible, common

if TYPE_CHECKING:
    from guestd.dlm.names import Name

_ZEROS: Final = bytes(64)


class LockViolation(Exception):
    """What does not hold."""


class User(NamedTuple):
    """Who holds a lock: of which life, and its number there."""

    node: int
    incarnation: int
    lock: object


@dataclass
class Holding:
    """What a user believes to hold."""

    name: Name
    mode: Mode


@dataclass
class Block:
    """A value block."""

    name: Name
    value: bytes = _ZEROS
    freed: bool = False  # since it was last written
    lost: bool = False  # somebody has ended who could have written
    spoiled: bool = False  # it may be lost: the same, and nobody has a lock, but waits for one; or a program has ended
    # that was about to be told that it may write
    unsure: bool = False  # somebody left a value who was no member any more: it counts, or it does not


class LockModel:
    """Told of everything. Lives that are dead, or as good as, are to be told of by ``died`` and ``recovered``."""

    def __init__(self) -> None:
        self.held: dict[User, Holding] = {}
        self.exist: dict[User, Name] = {}  # that were granted and are not released
        self.grants = 0
        self.deaths = 0
        self.overlaps = 0  # leaves beside joins: who joins may miss the value blocks of who leaves
        self._dead: dict[tuple[int, int], dict[User, Holding]] = {}  # life -> what it held, until its recovery is over
        self._interest: dict[tuple[int, int], list[Name]] = {}  # life -> names on which it had locks when it died
        self._blocks: dict[Name, Block] = {}
        self._spoiled: set[Name] = set()  # whose values may have been lost at any time

    # -- what users do

    def asks_less(self, user: User, mode: Mode | None, value: bytes | None) -> None:
        """It gives the lock up (None), or converts it; before the lock manager is asked."""
        holding = self.held[user]
        if value is not None:
            assert holding.mode in WRITES, f"{user} leaves a value and holds {holding}"
            self._blocks[holding.name] = Block(holding.name, value)
        if mode is None:
            del self.held[user]
            del self.exist[user]  # the master may have let it go long before its user is told
            self._look_for_freed()
        else:
            holding.mode = common(holding.mode, mode)

    def ghost_asks_less(self, user: User, name: Name, mode: Mode | None, value: bytes | None) -> None:
        """A user of a life that is as good as dead asks for less: some master may take that, or none.

        It is done with what the lock was for, or the disk would have told it.
        """
        holdings = self._dead.get(user[:2], {})
        # If the master takes it, no writer has died: what it left counts, or what was there before is valid still.
        wrote = user in holdings and holdings[user].mode in WRITES
        self._block(name).unsure |= value is not None or wrote
        if user in holdings and mode is None:
            del holdings[user]
        elif user in holdings and mode is not None:
            holdings[user].mode = common(holdings[user].mode, mode)

    # -- what they are told

    def granted(self, user: User, name: Name, mode: Mode, value: bytes, *, valid: bool, recovery: bool = False) -> None:
        """Raises :class:`LockViolation` if that may not be."""
        self.grants += 1
        told = f"{mode.name} on {name!r} is granted to {user}"
        for other, held in self.held.items():
            if other != user and held.name == name and not are_compatible(held.mode, mode):
                raise LockViolation(f"exclusion: {told}, and {other} holds {held.mode.name}")
        for life, holdings in self._dead.items():
            for held in holdings.values():
                if held.name == name and not recovery and not are_compatible(held.mode, mode):
                    raise LockViolation(
                        f"before recovery: {told}; {life} held {held.mode.name} when it died, and there was no recovery"
                    )
        self.held[user] = Holding(name, mode)
        self.exist[user] = name
        self._check_value(told, self._block(name), mode, value, valid=valid)
        self._look_for_freed()

    def denied(self, user: User, mode: Mode | None) -> None:
        """Its request is denied (None), or its conversion: it holds that mode."""
        if mode is None:
            self.gone(user)
        else:
            self.held[user].mode = mode

    def gone(self, user: User) -> None:
        """It has no such lock. If it has not asked for that: its node has left, or it has ended."""
        holding = self.held.pop(user, None)
        if holding is not None and holding.mode in WRITES:
            self._block(holding.name).lost = True
            self._spoil(holding.name)
        self.exist.pop(user, None)
        self._look_for_freed()

    def ends(self, user: User, name: Name) -> None:
        """It ends with its lock, and what it has asked for may have been granted already."""
        self._spoil(name)
        self.gone(user)

    # -- what becomes of nodes

    def died(self, node: int, incarnation: int, *, member: bool) -> None:
        """That life is dead, or as good as. member: a forced leave follows, or has begun."""
        life = (node, incarnation)
        holdings = {user: self.held.pop(user) for user in list(self.held) if user[:2] == life}
        names = [self.exist.pop(user) for user in list(self.exist) if user[:2] == life]
        self.deaths += 1
        if member:
            self._dead[life] = holdings
            self._interest[life] = names
            for holding in holdings.values():
                if holding.mode in WRITES:
                    self._block(holding.name).lost = True
        self._look_for_freed()

    def is_dead(self, node: int, incarnation: int) -> bool:
        """Whether that life has died, and its recovery is not over."""
        return (node, incarnation) in self._dead

    def unrecovered(self) -> Iterable[tuple[int, int]]:
        """The dead lives whose recovery is not over."""
        return tuple(self._dead)

    def recovered(self, node: int, incarnation: int) -> None:
        """The recovery after that life has come through all levels on all nodes."""
        self._dead.pop((node, incarnation), None)
        self._interest.pop((node, incarnation), None)
        self._look_for_freed()

    # -- inner workings

    def _check_value(self, told: str, block: Block, mode: Mode, value: bytes, *, valid: bool) -> None:
        if not valid:
            # Who is not protected may have been told before somebody left a new value, and hears of it later.
            spoiled = block.spoiled if mode in PROTECTED else block.name in self._spoiled
            if not (self.deaths or self.overlaps or spoiled):
                raise LockViolation(f"validity: {told} with a value that is not valid, though no writer has ended")
            return
        zeros = block.freed and value == _ZEROS
        if mode not in PROTECTED or zeros or block.unsure:
            return
        if block.lost:
            raise LockViolation(f"validity: {told} with a valid value, after the end of its last writer")
        if value != block.value:
            raise LockViolation(f"value block: {told} with {value.hex()}, and the last that was left is {block}")

    def _spoil(self, name: Name) -> None:
        self._block(name).spoiled = True
        self._spoiled.add(name)

    def _block(self, name: Name) -> Block:
        return self._blocks.setdefault(name, Block(name))

    def _look_for_freed(self) -> None:
        """Resources on which nobody has any lock: their value blocks go with them."""
        wanted = {*self.exist.values(), *(name for names in self._interest.values() for name in names)}
        for name, block in self._blocks.items():
            if name not in wanted:
                block.freed = True
                block.lost = False
