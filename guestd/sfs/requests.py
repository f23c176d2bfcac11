"""What programs ask of the shared file system, as values: one per operation of the mount (docs/mount.md).

Inodes and handles are numbers that the file system gives out; the root directory is inode 1. A handle is one open file
or directory; it ends with Release or ReleaseDirectory, and its inode lives until then, whatever is unlinked. A request
may name an inode that has gone (of a directory in which a program still stands, say): ESTALE. Names are bytes, without
"/". Each docstring says which answer is due (`guestd.sfs.answers`); `Failed` with an errno may always take its place.
Who may do what has been checked by this node's kernel, from the attributes it asked for just before.
"""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.inputs import Input
from guestd.core.value import Value

ROOT_INODE = 1
LAST_BYTE = (1 << 63) - 1  # "to the end of the file, however long it grows", of a range of bytes
NO_ANSWER = 0  # the number of requests to which none is due


class LockKind(Enum):
    """What a lock lets others do; NONE takes it back."""

    NONE = 0
    SHARED = 1
    EXCLUSIVE = 2


class Request(Value):
    """Base of the requests."""


class FileRequest(Input):
    """A program of this node waits for an answer with this number (`guestd.sfs.answers.FileAnswer`).

    Requests come in the order in which the kernel hands them out; any number may be under way at once.
    """

    number: int  # ascends, never used twice; NO_ANSWER for Forget, Interrupt, Unmounted
    now_ns: int  # the time of day, nanoseconds since 1970: for the times of files, and nothing else
    request: Request


# -- names


class Lookup(Request):
    """Answer: Entry. The kernel remembers the inode until as many Forgets as answers that named it have come."""

    directory: int
    name: bytes


class Forget(Request):
    """The kernel has dropped `count` of the references to that inode that Entry and Created gave. No answer is due."""

    inode: int
    count: int


class Create(Request):
    """Make a regular file and open it. Answer: Created. If there is one by now: EEXIST if exclusive, else open it."""

    directory: int
    name: bytes
    mode: int  # permission bits, the umask taken off
    uid: int
    gid: int
    writing: bool
    exclusive: bool
    truncate: bool  # if there is one by now


class MakeNode(Request):
    """Make a regular file, FIFO, socket or device without opening it. Answer: Entry."""

    directory: int
    name: bytes
    mode: int  # with the bits of the kind of file, as in st_mode
    uid: int
    gid: int
    device: int


class MakeDirectory(Request):
    """Answer: Entry."""

    directory: int
    name: bytes
    mode: int
    uid: int
    gid: int


class SymbolicLink(Request):
    """Answer: Entry."""

    directory: int
    name: bytes
    uid: int
    gid: int
    target: bytes


class ReadLink(Request):
    """Answer: Data, what the symbolic link says."""

    inode: int


class Link(Request):
    """One more name for the inode. Answer: Entry, with its attributes as they are then."""

    inode: int
    directory: int
    name: bytes


class Unlink(Request):
    """Answer: Done. Whoever has it open keeps it."""

    directory: int
    name: bytes


class RemoveDirectory(Request):
    """Answer: Done."""

    directory: int
    name: bytes


class Rename(Request):
    """Answer: Done. What has the new name is replaced, as rename(2) says; at most one of the two flags is set."""

    directory: int
    name: bytes
    new_directory: int
    new_name: bytes
    no_replace: bool  # EEXIST if the new name is taken
    exchange: bool  # both exist and change places


# -- inodes


class GetAttributes(Request):
    """Answer: Attributes. Comes for an unlinked inode too, while it is open."""

    inode: int


class SetAttributes(Request):
    """Change what is not None. Answer: Attributes, all of them, as they are then."""

    inode: int
    handle: int | None  # of which file it was asked; None: by name
    mode: int | None = None  # permission bits
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    access_ns: int | None = None
    modify_ns: int | None = None


class FileSystemStatistics(Request):
    """Answer: Statistics."""


# -- open files


class Open(Request):
    """Answer: Opened."""

    inode: int
    writing: bool


class Read(Request):
    """Answer: Data, of that many bytes, fewer only at the end of the file."""

    inode: int
    handle: int
    offset: int
    size: int


class Write(Request):
    """Answer: Written. append: at the end of the file as it is now; the offset is where this node took that to be.

    durable: opened with O_SYNC or O_DSYNC; the answer is due when it is on the medium, as after Synchronize.
    """

    inode: int
    handle: int
    offset: int
    data: bytes
    append: bool
    durable: bool = False


class Flush(Request):
    """A descriptor was closed (not the last one, perhaps): that owner's ranges on the inode end. Answer: Done."""

    inode: int
    handle: int
    owner: int


class Release(Request):
    """The handle ends. Answer: Done.

    flock_owner: whose lock on the whole file ends with it; None: nobody has locked it through this handle.
    """

    inode: int
    handle: int
    flock_owner: int | None


class Synchronize(Request):
    """fsync, or fdatasync with data_only. Answer: Done, when all that was written before is on the medium."""

    inode: int
    handle: int
    data_only: bool


# -- open directories


class OpenDirectory(Request):
    """Answer: Opened."""

    inode: int


class ReadDirectory(Request):
    """Answer: Entries, those after the entry whose `position` is given; 0: from the beginning."""

    inode: int
    handle: int
    position: int
    size: int  # bytes that fit; entries that do not are asked for again. One takes 24 bytes and its name, in eights


class ReleaseDirectory(Request):
    """The handle ends. Answer: Done."""

    inode: int
    handle: int


class SynchronizeDirectory(Request):
    """Answer: Done, when all that was done to the directory before is on the medium."""

    inode: int
    handle: int
    data_only: bool


# -- locks. An owner is a number that this node's kernel gives: whoever shares it, shares the locks.


class LockRange(Request):
    """fcntl(2) F_SETLK, F_SETLKW, and F_UNLCK. Answer: Done; Failed(EAGAIN) if others hold it and wait is False.

    What the same owner held of the range is replaced. Ranges and whole-file locks know nothing of each other.
    """

    inode: int
    handle: int
    owner: int
    process: int  # its number on this node, for others to see
    first: int
    last: int  # inclusive; LAST_BYTE: to the end
    kind: LockKind
    wait: bool


class QueryRange(Request):
    """fcntl(2) F_GETLK. Answer: RangeHeld, by somebody who stands in the way, or of the kind NONE."""

    inode: int
    handle: int
    owner: int
    process: int
    first: int
    last: int
    kind: LockKind


class LockWhole(Request):
    """flock(2). Answer: Done; Failed(EAGAIN) if others hold it and wait is False."""

    inode: int
    handle: int
    owner: int
    kind: LockKind
    wait: bool


# -- of the requests themselves


class Interrupt(Request):
    """Whoever waits for that request got a signal. No answer is due to this; Failed(EINTR) to the other, if it can.

    A program that is killed stays until the answer comes. The request may have been answered already.
    """

    number: int


class Unmounted(Request):
    """The mount has gone: handles, references and locks that came through it end, answers lead nowhere. None is due."""
