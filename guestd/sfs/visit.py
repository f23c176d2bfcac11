"""What programs have of the file system through one mount, from when it is mounted until it has gone."""

from __future__ import annotations

from guestd.sfs.mutex import Mutex
from guestd.tasks.steps import Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.answers import DirectoryEntry
    from guestd.sfs.file_locks import Call
    from guestd.sfs.filesystem import FileSystem


class Handle:
    """An open file or directory."""

    __slots__ = ("inode", "listing", "system", "writing")

    def __init__(self, system: FileSystem, inode: int) -> None:
        """system: the one in which it is open; there may be another one later. inode: its identity there."""
        self.system = system
        self.inode = inode
        self.writing = Mutex()  # writes through one handle come one after the other, in the order of the requests
        self.listing: tuple[DirectoryEntry, ...] | None = None  # as a directory was last found


class Visit:
    """The handles and locks of one mount, and what is under way for it."""

    __slots__ = (
        "_opened",
        "calls",
        "ended",
        "handles",
        "idle",
        "is_over",
        "ranges",
        "ready",
        "running",
        "wholes",
    )

    def __init__(self, opened: int, ready: Signal) -> None:
        """opened: how many handles there were in earlier visits. ready: fired when the locks of these are gone."""
        self._opened = opened
        self.handles: dict[int, Handle] = {}
        self.calls: dict[int, Call] = {}  # number of the request -> what may be interrupted
        self.ranges: dict[tuple[int, int], tuple[FileSystem, int]] = {}  # inode, owner: who may hold some -> process
        self.wholes: dict[tuple[int, int], FileSystem] = {}  # inode, owner: who may hold a lock on the whole file
        self.running = 0  # requests
        self.is_over = False
        self.idle = Signal()  # it is over, and no request is under way
        self.ended = Signal()  # nothing of it is left
        self.ready = ready

    def open(self, system: FileSystem, inode: int) -> int:
        """A new handle's number; none is used twice."""
        self._opened += 1
        self.handles[self._opened] = Handle(system, inode)
        return self._opened

    def following(self) -> Visit:
        """The next mount's."""
        return Visit(self._opened, self.ended)
