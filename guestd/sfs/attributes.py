"""What a file's attributes are to the callers: as `stat` has them."""

from __future__ import annotations

from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.inode import Inode


class Attributes(Value):
    """`inode` is the identity. Times in ns since 1970; `blocks` of 512 bytes."""

    inode: int
    generation: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    atime: int
    mtime: int
    ctime: int


def of(inode: Inode) -> Attributes:
    """Of an inode that exists."""
    return Attributes(
        inode.identity,
        inode.generation,
        inode.mode,
        inode.nlink,
        inode.uid,
        inode.gid,
        inode.rdev,
        inode.size,
        8 * (inode.blocks + 1),
        inode.atime,
        inode.mtime,
        inode.ctime,
    )
