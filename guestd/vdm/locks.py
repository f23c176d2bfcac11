"""VDM's locks, and in which order they are taken (docs/vdm.md says why nobody waits in a circle).

| resource | | |
|---|---|---|
| `VDM` | the tables | PR to read them, EX to change them; its value block has their sequence number, 0: read them |
| `VDM recovery` | recovery after a dead node | EX, by one node at a time |
| `VDM node` + n | node n lives and writes its dirty-region logs | EX, from its join on |
| `VDM disk` + id | a virtual disk | CR while it is open; EX, at once or not at all, to delete, shrink or mirror it |
| .../map | what the holder knows of its extents | PR while it is open; EX after it has grown |
| .../sync | writes to a mirror | PR while it is open; EX to resynchronise it |
| .../gate | the way to `sync` | PR for as long as it takes to get `sync`; EX for as long as `sync` is held in EX |
"""

from __future__ import annotations

from guestd.dlm.messages import VALUE_SIZE
from guestd.dlm.modes import Mode
from guestd.tasks.steps import Acquire, Release, Signal
from guestd.vdm.errors import NodeLeaves

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.dlm.names import Name
    from guestd.dlm.notices import Blocks
    from guestd.tasks.steps import Held, Task

TABLES: Name = (b"VDM",)
RECOVERY: Name = (b"VDM recovery",)

MAP, SYNC, GATE = b"map", b"sync", b"gate"

_OWNERS = 0x56444D << 40  # "VDM", so that they are nobody else's


def of_node(node: int) -> Name:
    """Held for as long as that node writes its logs."""
    return (b"VDM node%d" % node,)


def of_disk(identity: int) -> Name:
    """The tree of a virtual disk."""
    return (b"VDM disk%d" % identity,)


class Owners:
    """Gives each task an owner of its own: it never waits for itself."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> int:
        """Another one."""
        self._count += 1
        return _OWNERS + self._count


class Writers:
    """Who writes under a lock just now: a node that leaves waits for them, for its locks end with its leave.

    It does not wait for those who wait for a lock, which may be for the end of a recovery that waits for its leave.
    """

    __slots__ = ("_closed", "_count", "_none")

    def __init__(self) -> None:
        self._closed = False
        self._count = 0
        self._none: Signal | None = None

    def enter(self) -> None:
        """When the lock is held. Raises NodeLeaves."""
        if self._closed:
            raise NodeLeaves("this node leaves the cluster")
        self._count += 1

    def leave(self) -> None:
        """Before the lock is given up."""
        self._count -= 1
        if not self._count and self._none is not None:
            self._none.fire()

    def close(self) -> Task[None]:
        """Nobody enters any more; until nobody is left."""
        self._closed = True
        if self._count:
            self._none = self._none or Signal()
            yield self._none


class Locks:
    """What one task holds, in the order in which it was taken."""

    __slots__ = ("_held", "owner")

    def __init__(self, owners: Owners) -> None:
        self.owner = owners.next()
        self._held: list[int] = []

    def take(
        self,
        name: Name,
        mode: Mode,
        *,
        parent: Held | None = None,
        noqueue: bool = False,
        recovery: bool = False,
        on_blocks: Callable[[Blocks], None] | None = None,
    ) -> Task[Held]:
        """One more. Raises Refused."""
        above = None if parent is None else parent.number
        held: Held = yield Acquire(self.owner, name, mode, above, noqueue, recovery, on_blocks)
        self._held.append(held.number)
        return held

    def drop(self, held: Held, value: bytes | None = None) -> Task[None]:
        """Give one up."""
        self._held.remove(held.number)
        yield Release(held.number, value)

    def drop_all(self) -> Task[None]:
        """Give the rest up, the last one first."""
        while self._held:
            yield Release(self._held.pop())


def block_of(sequence: int) -> bytes:
    """The value block of the tables' lock."""
    return sequence.to_bytes(8, "little").ljust(VALUE_SIZE, b"\0")


def sequence_in(block: bytes) -> int:
    """0: nobody knows."""
    return int.from_bytes(block[:8], "little")
