"""A lock of this node, with what may be cached while it is held."""

from __future__ import annotations

from guestd.dlm.modes import Mode
from guestd.sfs.mutex import Mutex
from guestd.sfs.runs import Runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.inode import Inode
    from guestd.sfs.keys import Key
    from guestd.sfs.names import Index


class Guard:
    """Used by one operation at a time on this node (`mutex`); held in `mode` against the other nodes."""

    __slots__ = (
        "bits",
        "blocks",
        "children",
        "counted",
        "decoded",
        "index",
        "key",
        "known_as",
        "locked",
        "mode",
        "mutex",
        "number",
        "opens",
        "pages",
        "pins",
        "read_to",
        "used",
    )

    def __init__(self, key: Key) -> None:
        self.key = key
        self.mutex = Mutex()
        self.number: int | None = None  # of the lock, once there is one
        self.mode = Mode.NL
        self.blocks: dict[int, bytes] = {}  # newest bodies of the blocks that it guards
        self.decoded: tuple[bytes, Inode] | None = None  # a body of those that is an inode, and what it says
        self.bits: tuple[bytes, int] | None = None  # of those that is a bitmap, the same
        self.pages = Runs()  # contents of the file
        self.read_to = 0  # where the last reading of the file has ended, in blocks of the file
        self.counted = 0  # pages, when it was last given back
        self.index: Index | None = None  # of a directory
        self.opens = 0  # how often this node has the file open
        self.children: dict[bytes, int] = {}  # locks below it: the part of the name, the number
        self.pins = 0  # calls that need its lock, in whatever mode
        self.locked = False  # there are locks of programs below it
        self.used = 0  # when, counted in uses
        self.known_as: int | None = None  # the inode's number in the mount, while the kernel keeps its attributes

    def drop(self) -> None:
        """Nothing is known any more."""
        self.blocks.clear()
        self.decoded = self.bits = None
        self.pages.clear()
        self.index = None

    @property
    def is_pinned(self) -> bool:
        """Whether its lock has to stay, if only in NL."""
        return bool(self.children or self.pins or self.locked)

    def allows(self, mode: Mode) -> bool:
        """Whether what it is held in is enough."""
        return self.number is not None and self.mode.value >= mode.value
