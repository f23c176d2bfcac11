"""One resource at its master: who holds it, who waits, and its value block. Knows nothing of nodes and messages.

The order is that of OpenVMS and Linux's dlm:

* A conversion is granted at once if its mode is compatible with all other locks that are granted; a conversion down
  always is. Else it waits in the conversion queue, and its lock stays granted in its old mode.
* A new request is granted at once if nobody waits in either queue and its mode is compatible with all that are granted.
  Else it waits in the wait queue.
* When something is given up, conversions are granted from the head of their queue up to the first that must wait; only
  if none waits any more, requests from the head of theirs.

A lock whose node has died stays granted, an orphan, and a resource that a dead node may have held is withheld, until
the levels above have recovered what was behind it (`recovery.py`). Only a lock that serves this very recovery passes
both, and it waits for nobody in the queues: they wait for it.
"""

from __future__ import annotations

from guestd.dlm.messages import VALUE_SIZE
from guestd.dlm.modes import COMPATIBLE, WRITES, is_down

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from guestd.dlm.modes import Mode
    from guestd.dlm.names import Name

NO_VALUE = bytes(VALUE_SIZE)


class Entry:
    """A lock as its master knows it: granted, waiting for its first mode, or both for a conversion."""

    __slots__ = (
        "granted",
        "lock",
        "node",
        "noticed",
        "operation",
        "orphan_of",
        "owner",
        "recovery",
        "resource",
        "wanted",
    )

    def __init__(self, resource: Resource, node: int, lock: int, owner: int, *, recovery: bool = False) -> None:
        self.resource = resource
        self.node = node
        self.lock = lock
        self.owner = owner
        self.recovery = recovery  # serves the recovery after a node
        self.granted: Mode | None = None
        self.wanted: Mode | None = None
        self.operation = 0  # the newest of this lock
        self.noticed: list[Mode] = []  # in which modes it is waited for, as its holder was told
        self.orphan_of: tuple[int, int] | None = None  # (node, incarnation) of the dead holder


class Resource:
    """Mutable; in a tree of its master."""

    __slots__ = ("converting", "granted", "name", "sequence", "valid", "value", "waiting", "withheld")

    def __init__(self, name: Name) -> None:
        self.name = name
        self.granted: list[Entry] = []
        self.converting: list[Entry] = []  # these are also granted
        self.waiting: list[Entry] = []
        self.value = NO_VALUE
        self.sequence = 0  # how often the value was written
        self.valid = True
        self.withheld: list[tuple[int, int]] = []  # dead lives that may have held it in whatever mode

    @property
    def empty(self) -> bool:
        """Whether nobody holds it or waits for it."""
        return not self.granted and not self.waiting

    def write(self, value: bytes) -> None:
        """Its holder in PW or EX leaves a new value."""
        self.value = value
        self.sequence += 1
        self.valid = True

    def request(self, entry: Entry, mode: Mode, *, noqueue: bool) -> bool | None:
        """A new lock: True granted, None waits, False refused, and then it is as if it had never been asked for."""
        entry.wanted = mode
        queued = bool(self.converting or self.waiting)
        if (entry.recovery or not queued) and self._admits(entry):
            self._grant(entry)
            return True
        if noqueue:
            entry.wanted = None
            return False
        self.waiting.append(entry)
        return None

    def convert(self, entry: Entry, mode: Mode, *, noqueue: bool) -> bool | None:
        """Another mode for a granted lock: True granted, None waits, False refused."""
        entry.wanted = mode
        if self._admits(entry):
            self._grant(entry)
            return True
        if noqueue:
            entry.wanted = None
            return False
        self.converting.append(entry)
        return None

    def cancel(self, entry: Entry) -> bool:
        """Whether it waited. A conversion is given up, its lock stays; a request is gone."""
        if entry.wanted is None:
            return False
        entry.wanted = None
        (self.waiting if entry.granted is None else self.converting).remove(entry)
        return True

    def release(self, entry: Entry) -> None:
        """The lock is gone, whatever it was."""
        self.cancel(entry)
        if entry.granted is not None:
            entry.granted = None
            self.granted.remove(entry)

    def orphan(self, entry: Entry, life: tuple[int, int]) -> bool:
        """Its node has died. Whether an orphan is left; what its holder may have written is not in the value block."""
        self.cancel(entry)
        if entry.granted is None:
            return False
        entry.orphan_of = life
        if entry.granted in WRITES:
            self.valid = False
        return True

    def settle(self) -> list[Entry]:
        """Grant what can be granted now, in the order of the queues."""
        granted = []
        for queue in (self.converting, self.waiting):
            for entry in [one for one in queue if one.recovery and self._admits(one)]:
                if self._admits(entry):  # still, after those before it
                    queue.remove(entry)
                    self._grant(entry)
                    granted.append(entry)
        for queue in (self.converting, self.waiting):
            while queue and self._admits(queue[0]):
                entry = queue.pop(0)
                self._grant(entry)
                granted.append(entry)
            if queue:
                break
        return granted

    def notices(self) -> Iterator[tuple[Entry, Mode]]:
        """Holders that are to be told that somebody waits for them: each once for each mode that is wanted."""
        for waiter in (*self.converting, *self.waiting):
            wanted = waiter.wanted
            assert wanted is not None, "only a lock that wants something waits"
            for holder in self._in_the_way(waiter):
                if wanted not in holder.noticed and holder.orphan_of is None:
                    holder.noticed.append(wanted)
                    yield holder, wanted

    def blockers(self, entry: Entry) -> list[Entry]:
        """All that have to give way before a waiting lock is granted: holders, and those before it in the queues."""
        if entry.recovery:
            return self._in_the_way(entry)
        ahead = list(self.converting)
        if entry.granted is None:
            ahead += self.waiting
        return self._in_the_way(entry) + ahead[: ahead.index(entry)]

    def _in_the_way(self, entry: Entry) -> list[Entry]:
        """The granted locks that are not compatible with what that one wants."""
        assert entry.wanted is not None, "it waits for nothing"
        legal = COMPATIBLE[entry.wanted]
        return [
            other
            for other in self.granted
            if other.granted not in legal
            and other is not entry
            and not (entry.recovery and other.orphan_of is not None)
        ]

    def _admits(self, entry: Entry) -> bool:
        if self.withheld and not entry.recovery:
            assert entry.wanted is not None, "it waits for nothing"
            if entry.granted is None or not is_down(entry.granted, entry.wanted):
                return False
        return not self._in_the_way(entry)

    def _grant(self, entry: Entry) -> None:
        if entry.granted is None:
            self.granted.append(entry)
        entry.granted = entry.wanted
        entry.wanted = None
        entry.noticed = []
