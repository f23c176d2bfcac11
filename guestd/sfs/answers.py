"""What the shared file system answers to the requests of the mount (`guestd.sfs.requests`, docs/mount.md)."""

from __future__ import annotations

from guestd.core.effects import Effect
from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.requests import LockKind


class Reply(Value):
    """Base of the answers."""


class FileAnswer(Effect):
    """The one answer to the request with that number. Nothing happens if the mount has gone."""

    number: int
    reply: Reply


class FileChanged(Effect):
    """This node's kernel forgets the attributes of that inode that it was told to keep, and asks when it needs them.

    To be emitted before another node may change the inode. When it has been carried out, they are forgotten.
    """

    inode: int


class Done(Reply):
    """It has happened."""


class Failed(Reply):
    """It has not."""

    errno: int  # positive, Linux' numbers


class Attributes(Reply):
    """Of an inode, as stat(2) shows them."""

    inode: int
    mode: int  # with the bits of the kind of file
    links: int
    uid: int
    gid: int
    size: int
    blocks: int  # of 512 bytes, that it occupies
    access_ns: int  # nanoseconds since 1970
    modify_ns: int
    change_ns: int
    device: int = 0  # which one a device file is
    block_size: int = 4096  # preferred size of reads and writes
    keep: bool = False  # this node's kernel need not ask again until FileChanged: nobody else can change them till then


class Entry(Reply):
    """A name stands for this inode.

    generation: another one whenever the inode's number is used anew, so that this node's kernel can tell the two apart.
    """

    generation: int
    attributes: Attributes


class Opened(Reply):
    """The handle of an open file or directory."""

    handle: int


class Created(Reply):
    """Entry and Opened in one."""

    entry: Entry
    handle: int


class Data(Reply):
    """Bytes."""

    data: bytes


class Written(Reply):
    """How many bytes were written, from the first one on."""

    size: int


class DirectoryEntry(Value):
    """One name in a directory, "." and ".." among them."""

    name: bytes
    inode: int
    mode: int  # the bits of the kind of file suffice
    position: int  # where reading goes on after this entry; not 0, and the same while the entry exists


class Entries(Reply):
    """Names in a directory; none at its end."""

    entries: tuple[DirectoryEntry, ...]


class Statistics(Reply):
    """Of the file system, as statvfs(3) shows them."""

    block_size: int
    blocks: int
    blocks_free: int
    inodes: int
    inodes_free: int
    name_size_max: int = 255


class RangeHeld(Reply):
    """A range of bytes that somebody holds; of the kind NONE: nobody stands in the way."""

    kind: LockKind
    first: int = 0
    last: int = 0
    process: int = 0  # 0: it is on another node
