"""What a member knows of the disks beside LUN 0: whether they answer it, and that it may still write there.

    answers --> silent --> lost

Each is asked for its keys once in `death_ms`. A node that has lost a path to one of them, or all paths to all of them,
goes on as a member: who belongs to the cluster is decided by LUN 0 alone (spec S5.2), and I/O on a data disk waits, as
all I/O does where nobody sees the disk (S5.3). But it can verify no fence there: it publishes that in its heartbeat,
and a member that sees all disks fences in its place (`office.py`). That costs a master its office, and with it its
life: so one failure is not enough for it, and whoever is to take over asks all disks once more, for it may be the disk
that is gone, and not a path. A node whose key is gone from any of them was fenced, and panics (S6.1).
"""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table
from guestd.fence.keys import key_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guestd.core.context import Context
    from guestd.fence.fence import Life
    from guestd.fence.reservations import Reservations


class DiskState(Enum):
    """One of them, for this node."""

    ANSWERS = "answers"  # to its last question; as is supposed of one that has just taken the registration
    SILENT = "silent"  # it has failed, or not answered for `death_ms`
    LOST = "lost"  # so twice in a row


DISK_STATES = Table(
    "data disk",
    DiskState,
    {
        DiskState.ANSWERS: {"answered": DiskState.ANSWERS, "overdue": DiskState.SILENT},
        DiskState.SILENT: {"answered": DiskState.ANSWERS, "overdue": DiskState.LOST},
        DiskState.LOST: {"answered": DiskState.ANSWERS, "overdue": DiskState.LOST},
    },
)


class _Watched:
    """One of them."""

    def __init__(self, reservations: Reservations) -> None:
        self.reservations = reservations
        self.state = DiskState.ANSWERS
        self.asked = False
        self.waited_ms = 0  # since it was asked, or has answered
        self.proved = False  # it has answered what was asked since the present proof began


class DataDisks:
    """Of one life of a node; false if there are none."""

    def __init__(self, context: Context, reservations: Sequence[Reservations], key_gone: Callable[[int], None]) -> None:
        """reservations: of LUN 1, 2 …; key_gone: told of the LUN where the own key is no more."""
        self._context = context
        self._disks = [_Watched(one) for one in reservations]
        self._key_gone = key_gone
        self._proving = False

    def __bool__(self) -> bool:
        return bool(self._disks)

    @property
    def any_lost(self) -> bool:
        """This node can verify no fence."""
        return any(disk.state is DiskState.LOST for disk in self._disks)

    def prove(self, life: Life) -> bool:
        """Whether each disk has answered a question put since the first call after `trust`; asks them then."""
        if not self._proving:
            self._proving = True
            for disk in self._disks:
                disk.proved = False
                if not disk.asked:
                    self._ask(disk, key_of(*life))
        return all(disk.proved for disk in self._disks)

    def trust(self) -> None:
        """No proof is needed any more."""
        self._proving = False

    def states(self) -> dict[str, str]:
        """By LUN, for people."""
        return {str(disk.reservations.lun): disk.state.value for disk in self._disks}

    def tick(self, counted_ms: int, life: Life) -> None:
        """So much time has passed; this node is a member as that life."""
        limit_ms = self._context.config.timing.death_ms
        for disk in self._disks:
            disk.waited_ms += counted_ms
            if disk.waited_ms < limit_ms:
                continue
            disk.waited_ms = 0
            if disk.asked:
                self._enter(disk, "overdue")
            else:
                self._ask(disk, key_of(*life))

    def _ask(self, disk: _Watched, key: int) -> None:
        disk.asked, disk.waited_ms = True, 0
        proves = self._proving

        def answered(keys: list[int] | None) -> None:
            disk.asked, disk.waited_ms = False, 0
            disk.proved = disk.proved or (proves and keys is not None)
            self._enter(disk, "overdue" if keys is None else "answered")
            if keys is not None and key not in keys:
                self._key_gone(disk.reservations.lun)

        disk.reservations.read_keys(answered)

    def _enter(self, disk: _Watched, trigger: str) -> None:
        before, disk.state = disk.state, DISK_STATES.next(disk.state, trigger)
        if disk.state is not before:
            self._context.emit("data-disk", lun=disk.reservations.lun, state=disk.state.value)
