"""The locks of this node's own users: finds out who masters a tree, sends operations there, and takes the answers.

A lock has one operation under way at most. Its answer counts only if it comes from a member and names that operation;
so what a master said that has left, or had been asked before this node was sent on to another one, changes nothing.
"""

from __future__ import annotations

from guestd.dlm import names
from guestd.dlm.directory import directory_node
from guestd.dlm.lock_messages import messages_of
from guestd.dlm.locks import Lock, LockState
from guestd.dlm.messages import (
    NO_MASTER,
    NO_MODE,
    VALUE_SIZE,
    Blocking,
    Cancel,
    Deny,
    Grant,
    Lookup,
    Master,
    Reason,
    Release,
    Released,
    Retry,
)
from guestd.dlm.modes import WRITES, Mode, is_down
from guestd.dlm.notices import Blocks, Denied, Gone, Granted
from guestd.dlm.resource import NO_VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guestd.dlm.mastery import Mastery
    from guestd.dlm.names import Name
    from guestd.dlm.site import Site


_HELD = (LockState.GRANTED, LockState.CONVERTING)


class LockError(ValueError):
    """What a user asked for cannot be done with that lock; says why, and what would be legal."""


class Client:
    """This node's locks. What a user may call is documented in `manager.py`."""

    __slots__ = ("_again", "_asked", "_last", "_mastery", "_site", "by_root", "locks", "masters", "unconfirmed")

    def __init__(self, site: Site, mastery: Mastery) -> None:
        self._site = site
        self._mastery = mastery
        self._last = 0
        self.locks: dict[int, Lock] = {}
        self.by_root: dict[bytes, dict[int, Lock]] = {}
        self.masters: dict[bytes, int] = {}  # of the trees in which this node has locks, as far as it knows
        self.unconfirmed: dict[bytes, bool] = {}  # trees whose master comes from a re-spread, and has not said anything
        self._asked: dict[bytes, int] = {}  # root -> number of the question to the directory
        self._again: dict[bytes, bool] = {}  # roots to be looked up at the next tick

    # -- what users ask for

    def request(self, owner: int, name: Name, mode: Mode, parent: int | None, *, noqueue: bool, recovery: bool) -> int:
        """A new lock; its number."""
        names.check(name)
        above = None if parent is None else self._find(parent)
        if (above.name if above else ()) != name[:-1]:
            raise LockError(f"{names.shown(name)} is no sub-resource of that of lock {parent}")
        if above is not None and above.mode is None:
            raise LockError(f"lock {parent} is {above.state.value} (a lock below it needs it granted)")
        self._last += 1
        lock = Lock(self._last, owner, name, parent, recovery=recovery)
        self.locks[lock.number] = lock
        self.by_root.setdefault(name[0], {})[lock.number] = lock
        self._begin(lock, mode, noqueue=noqueue, value=None)
        return lock.number

    def convert(self, number: int, mode: Mode, *, noqueue: bool, value: bytes | None) -> None:
        """Another mode."""
        lock = self._granted(number)
        assert lock.mode is not None, "a granted lock has a mode"
        if value is not None and not (lock.mode in WRITES and is_down(lock.mode, mode)):
            raise LockError(f"lock {number} leaves no value when it goes from {lock.mode.name} to {mode.name}")
        lock.enter("convert")
        self._begin(lock, mode, noqueue=noqueue, value=value)

    def release(self, number: int, *, value: bytes | None, invalidate: bool) -> None:
        """Give it up."""
        lock = self._granted(number)
        below = [one.number for one in self.by_root[lock.name[0]].values() if one.parent == number]
        if below:
            raise LockError(f"lock {number} has locks below it: {below}; release them first")
        if value is not None and lock.mode not in WRITES:
            raise LockError(f"lock {number} is not held in PW or EX and leaves no value")
        lock.enter("release")
        lock.invalidates = invalidate
        self._begin(lock, None, noqueue=False, value=value)

    def cancel(self, number: int, reason: Reason) -> None:
        """Give up what it waits for. It may be granted all the same, if that is under way."""
        lock = self._find(number)
        if not lock.waits:
            raise LockError(f"lock {number} is {lock.state.value} and waits for nothing")
        if lock.cancelled is None:
            lock.cancelled = reason
            if lock.sent_to is not None:
                self._site.send(lock.sent_to, Cancel(number, lock.operation, reason))

    # -- what others say

    def master_is(self, message: Master) -> None:
        """The directory has answered; what comes too late counts for nothing."""
        root = next((root for root, number in self._asked.items() if number == message.number), None)
        if root is None:
            return
        del self._asked[root]
        if message.master == NO_MASTER:
            self._again[root] = True
            return
        if message.master == self._site.node:
            held = [lock.number for lock in self.by_root.get(root, {}).values() if lock.state in _HELD]
            assert not held or root in self._mastery.trees, f"nobody masters {root!r}, in which locks are held: {held}"
            self._mastery.begin(root)
        if root in self.by_root:
            self.masters[root] = message.master
            for lock in self.by_root[root].values():
                lock.named = lock.pending and lock.sent_to is None
            self._send_all(root)

    def granted(self, sender: int, message: Grant) -> None:
        """The master has granted an operation."""
        lock = self.locks.get(message.lock)
        if lock is None:  # an operation that was sent twice, and ended in between: nobody wants this lock
            self._site.send(sender, Release(message.lock, self._site.next_operation(), False, False, NO_VALUE))
        elif self._is_answer(lock, sender, message.operation) and lock.waits:
            lock.mode = message.mode
            lock.copy, lock.sequence, lock.valid = message.value, message.sequence, message.valid
            self._end(lock, "granted")
            notice = Granted(lock.number, message.mode, message.value, message.valid, message.sequence)
            self._site.notices.append(notice)

    def denied(self, sender: int, message: Deny) -> None:
        """The master has not granted it."""
        lock = self.locks.get(message.lock)
        if lock is not None and self._is_answer(lock, sender, message.operation) and lock.waits:
            lock.mode = None if message.granted == NO_MODE else Mode(message.granted)
            self._end(lock, "denied")
            self._site.notices.append(Denied(lock.number, message.reason, lock.mode))

    def released(self, sender: int, message: Released) -> None:
        """The master has let it go."""
        lock = self.locks.get(message.lock)
        if lock is not None and self._is_answer(lock, sender, message.operation):
            self._end(lock, "released")
            self._site.notices.append(Gone(lock.number))

    def blocks(self, sender: int, message: Blocking) -> None:
        """Somebody waits for it."""
        lock = self.locks.get(message.lock)
        member = sender in self._site.members
        if member and lock is not None and lock.mode is not None and lock.state is not LockState.RELEASING:
            self._confirm(lock, sender)
            self._site.notices.append(Blocks(lock.number, message.mode))

    def retry(self, sender: int, message: Retry) -> None:
        """It was not sent to its master: ask the directory, at once for the first time, else at the next tick."""
        lock = self.locks.get(message.lock)
        if lock is None or not lock.pending or (lock.sent_to, lock.operation) != (sender, message.operation):
            return
        root = lock.name[0]
        named = lock.named
        self._lose(lock)
        if self.masters.get(root) == sender:
            del self.masters[root]
            self.unconfirmed.pop(root, None)
        if named and lock.state is LockState.RELEASING:
            # Who masters the tree does not know it: its last master let it go, and died before its answer was out.
            self._end(lock, "released")
            self._site.notices.append(Gone(lock.number))
        elif lock.retried:
            self._again[root] = True
        else:
            lock.retried = True
            self._send(lock)

    # -- changes of the members, and time

    def void_questions(self) -> None:
        """The directory begins anew: no answer counts any more."""
        self._asked.clear()
        self._again.clear()
        for lock in self.locks.values():
            lock.named = False

    def lose_sent(self, members: Mapping[int, int]) -> None:
        """Operations that a node has which is no member any more are to be sent again: that one may not have been the
        master, and its Retry will not come."""
        for lock in self.locks.values():
            if lock.sent_to is not None and lock.sent_to not in members:
                self._lose(lock)

    def send_again(self, root: bytes, master: int) -> None:
        """The tree has that master. Where else operations were brought, in a round that has not come to its end since
        the master spoke only then, nobody has them."""
        for lock in self.by_root[root].values():
            if lock.sent_to != master:
                self._lose(lock)

    def go_on(self) -> None:
        """The lock manager has not stopped any more: send what has come up meanwhile."""
        for root in list(self.by_root):
            self._send_all(root)

    def tick(self) -> None:
        """A heartbeat period has passed."""
        if self._site.stopped:
            return
        again, self._again = self._again, {}
        for root in again:
            for lock in self.by_root.get(root, {}).values():
                lock.retried = False
            self._send_all(root)

    def drop_all(self) -> None:
        """This node leaves, and nobody on it needs locks any more."""
        self.locks.clear()
        self.by_root.clear()
        self.masters.clear()

    # -- inner workings

    def _find(self, number: int) -> Lock:
        if number not in self.locks:
            raise LockError(f"there is no lock {number}")
        return self.locks[number]

    def _granted(self, number: int) -> Lock:
        lock = self._find(number)
        if lock.state is not LockState.GRANTED:
            raise LockError(f"lock {number} is {lock.state.value} (it must be granted)")
        return lock

    def _begin(self, lock: Lock, mode: Mode | None, *, noqueue: bool, value: bytes | None) -> None:
        if value is not None and len(value) != VALUE_SIZE:
            raise LockError(f"a value block of {len(value)} bytes (legal: {VALUE_SIZE})")
        lock.wanted = mode
        lock.operation = self._site.next_operation()
        lock.noqueue = noqueue
        lock.writes = value is not None
        if value is not None:
            lock.value = value
        lock.cancelled = None
        lock.named = lock.retried = False
        lock.searched_ms = self._site.now_ms
        self._send(lock)

    def _send_all(self, root: bytes) -> None:
        for lock in self.by_root.get(root, {}).values():
            if lock.pending and lock.sent_to is None:
                self._send(lock)

    def _send(self, lock: Lock) -> None:
        """To the master, as soon as it is known."""
        root = lock.name[0]
        if self._site.stopped:
            return
        if root in self._mastery.trees:  # and if it were asked for, it could be given up before the answer came
            self.masters[root] = self._site.node
        if root not in self.masters:
            if root not in self._asked:
                number = self._asked[root] = self._site.next_operation()
                self._site.send(directory_node(root, self._site.members), Lookup(number, (root,)))
            return
        lock.sent_to = self.masters[root]
        for message in messages_of(lock):
            self._site.send(lock.sent_to, message)

    @staticmethod
    def _lose(lock: Lock) -> None:
        """Nobody has the operation under way."""
        lock.sent_to = None
        lock.named = False

    def _is_answer(self, lock: Lock, sender: int, operation: int) -> bool:
        if sender not in self._site.members or not lock.pending or lock.operation != operation:
            return False
        self._confirm(lock, sender)
        return True

    def _confirm(self, lock: Lock, sender: int) -> None:
        """Who speaks of a lock as its master is the master of the tree."""
        self.masters[lock.name[0]] = sender
        self.unconfirmed.pop(lock.name[0], None)

    def _end(self, lock: Lock, trigger: str) -> None:
        """The operation under way is over."""
        lock.enter(trigger)
        lock.wanted = None
        lock.sent_to = None
        lock.cancelled = None
        if lock.state is LockState.ENDED:
            root = lock.name[0]
            del self.locks[lock.number]
            del self.by_root[root][lock.number]
            if not self.by_root[root]:
                del self.by_root[root]
                self.masters.pop(root, None)
                self.unconfirmed.pop(root, None)
