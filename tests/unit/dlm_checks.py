"""The model of locks (`hil/checkers/lock_model.py`), told of every event of `dlm_net`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guestd.dlm.notices import Denied, Gone, Granted, Notice
from guestd.membership.states import NodeState
from guestd.membership.view import View
from hil.checkers.lock_model import LockModel, LockViolation, User

if TYPE_CHECKING:
    from guestd.dlm.modes import Mode
    from guestd.dlm.names import Name
    from tests.unit.dlm_net import World


class Violation(AssertionError):
    """A claim does not hold."""


class Checks:
    """Told of everything by the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.model = LockModel()

    @property
    def grants(self) -> int:
        return self.model.grants

    @property
    def deaths(self) -> int:
        return self.model.deaths

    def _user(self, node: int, lock: int) -> User:
        return User(node, self._world.nodes[node].incarnation, lock)

    def asks_less(self, node: int, lock: int, mode: Mode | None, value: bytes | None) -> None:
        """It gives the lock up, or converts it; before the lock manager is asked."""
        self.model.asks_less(self._user(node, lock), mode, value)

    def ends(self, node: int, lock: int, name: Name) -> None:
        """Its user ends with it; before the lock manager is told."""
        self.model.ends(self._user(node, lock), name)

    def noticed(self, node: int, notice: Notice) -> None:
        incarnation = self._world.nodes[node].incarnation
        entry = self._world.view.entries[node]
        if self.model.is_dead(node, incarnation) or not entry.is_life(incarnation):
            return  # a zombie believes what it likes: the disk refuses what it does
        user = self._user(node, notice.lock)
        if isinstance(notice, Granted):
            manager = self._world.nodes[node].manager
            assert manager is not None
            lock = manager.client.locks[notice.lock]
            try:
                self.model.granted(
                    user, lock.name, notice.mode, notice.value, valid=notice.valid, recovery=lock.recovery
                )
            except LockViolation as why:
                raise Violation(str(why)) from why
        elif isinstance(notice, Denied):
            self.model.denied(user, notice.mode)
        elif isinstance(notice, Gone):
            self.model.gone(user)

    def died(self, node: int) -> None:
        """It is dead, or as good as."""
        incarnation = self._world.nodes[node].incarnation
        member = self._world.view.entries[node].is_life(incarnation) and self._world.nodes[node].manager is not None
        self.model.died(node, incarnation, member=member)

    def left(self, node: int) -> None:
        """It has left, with what its users hold."""
        life = (node, self._world.nodes[node].incarnation)
        for user in [user for user in self.model.held if user[:2] == life]:
            self.model.gone(user)

    def view_is(self, view: View) -> None:
        """Recoveries that are over."""
        states = {entry.state for entry in view.entries}
        self.model.overlaps += NodeState.LEAVING in states and NodeState.JOINING in states
        for node, incarnation in self.model.unrecovered():
            entry = view.entries[node]
            if entry.incarnation != incarnation or entry.state is NodeState.INACTIVE:
                self.model.recovered(node, incarnation)
