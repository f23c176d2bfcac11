"""Claim: no two hold what excludes each other, nobody gets what a dead node held before the recovery after it is over,
and a valid value is the last that was left (S7.1, A13, A24).

By what programs are told (:mod:`hil.sim.lockers`), whatever lock managers believe. A life counts as dead from the loss
of its power, or from its key's removal from the disk: what it believes to hold then does no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from guestd.membership.states import NodeState
from hil.checkers.checker import Checker
from hil.checkers.lock_model import LockModel, LockViolation, User
from hil.checkers.observation import Observation

if TYPE_CHECKING:
    from guestd.dlm.modes import Mode
    from guestd.membership.view import View
    from hil.checkers.checker import Bench
    from hil.checkers.observation import Life, Removal
    from hil.sim.lockers import Lock, Locker
    from hil.sim.world import World


class LocksHeld(Checker):
    """The model, told of what lockers hear and say, and of what becomes of nodes."""

    claim = "locks exclude, wait for the recovery after their dead holders, and hand on their last value (S7.1, A13)"
    needs = (Observation.INSIDE,)

    def __init__(self) -> None:
        self.model = LockModel()
        self._lives: dict[tuple[int, int], int] = {}  # (node, life) -> incarnation
        self._over: set[tuple[int, int]] = set()  # (node, incarnation): dead, or as good as
        self._view: View | None = None

    def begin(self, bench: Bench) -> None:
        """Of a simulated cluster."""
        super().begin(bench)
        self.world = cast("World", bench)
        self.world.lockers.listener = self

    # -- what lockers hear and say

    def granted(self, locker: Locker, lock: Lock, told: dict[str, Any]) -> None:
        """Whether that may be."""
        if self._is_over(locker):
            return
        assert lock.mode is not None, "it was just granted"
        try:
            value = bytes.fromhex(told["value"])
            self.model.granted(self._user(locker, lock), _name(lock), lock.mode, value, valid=told["valid"])
        except LockViolation as why:
            self.fail(str(why))

    def denied(self, locker: Locker, lock: Lock, mode: Mode | None) -> None:
        """It is left with that mode."""
        if not self._is_over(locker):
            self.model.denied(self._user(locker, lock), mode)

    def gone(self, locker: Locker, lock: Lock) -> None:
        """Its node has left, or it has asked for that."""
        if not self._is_over(locker):
            self.model.gone(self._user(locker, lock))

    def asks_less(self, locker: Locker, lock: Lock, mode: Mode | None, value: bytes | None) -> None:
        """It relies on less from now on."""
        user = self._user(locker, lock)
        if not self._is_over(locker) and user in self.model.held:
            self.model.asks_less(user, mode, value)
        elif self._is_over(locker):
            self.model.ghost_asks_less(user, _name(lock), mode, value)

    def ends(self, locker: Locker) -> None:
        """It relies on nothing any more. A write mode that ends so leaves no value."""
        for lock in locker.locks.values():
            if self._is_over(locker):
                self.model.ghost_asks_less(self._user(locker, lock), _name(lock), None, None)
            else:
                self.model.ends(self._user(locker, lock), _name(lock))

    # -- what becomes of nodes

    def ended(self, node: Life) -> None:
        """A life has lost its power, has panicked or has left."""
        self._bury(node.number, node.incarnation)

    def removed(self, removal: Removal) -> None:
        """Its writes are refused from now on."""
        self._bury(removal.node, removal.incarnation)

    def committed(self, node: Life, life: int, view: View) -> None:
        """Recoveries that are over."""
        if self._view is not None and view.order <= self._view.order:
            return
        self._view = view
        states = {entry.state for entry in view.entries}
        self.model.overlaps += NodeState.LEAVING in states and NodeState.JOINING in states
        for dead, incarnation in self.model.unrecovered():
            entry = view.entries[dead]
            if entry.incarnation != incarnation or entry.state is NodeState.INACTIVE:
                self.model.recovered(dead, incarnation)

    def _bury(self, node: int, incarnation: int) -> None:
        if not incarnation or (node, incarnation) in self._over:
            return
        self._over.add((node, incarnation))
        entry = None if self._view is None else self._view.entries[node]
        self.model.died(node, incarnation, member=entry is not None and entry.is_life(incarnation))

    def _is_over(self, locker: Locker) -> bool:
        return (locker.node.number, locker.node.incarnation) in self._over

    @staticmethod
    def _user(locker: Locker, lock: Lock) -> User:
        return User(locker.node.number, locker.node.incarnation, (locker.connection, lock.number))


def _name(lock: Lock) -> tuple[bytes, ...]:
    return tuple(part.encode() for part in lock.name)
