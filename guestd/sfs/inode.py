"""Inodes. An inode has a block of its own, and its number is that block's.

Entries of directories and callers name an inode by its identity: the number, and in the upper 24 bits a tag made of its
generation. So who has the identity of an inode that another node has deleted does not get the one that came to lie in
the same block.

body    size
0       4     mode: type and permissions, as st_mode; 0: the inode has been deleted
4       4     uid
8       4     gid
12      4     number of names; of a directory: 2 and its directories
16      8     size in bytes
24      8     last access, ns since 1970, signed (kept as set; reading does not change it)
32      8     last change of the contents
40      8     last change of the inode
48      8     generation: another one each time that this block becomes an inode; of the root 0
56      8     blocks that belong to it, without its own
64      8     a directory: the identity of the directory that it is in (the root: its own); else 0
72      8     device number of a special file
80      1     slot of the list of orphans that it is on, plus 1; 0: none
81      1     0: extents follow; 1: the numbers of blocks of extents follow
82      2     how many; of a symbolic link: 0
84      3972  extents: first block in the file (8), first block on the disk (8), number of blocks (4)
              blocks of extents: first block in the file (8), number of the block (8)
              a symbolic link: where it leads, as long as the size says

A block of extents: inode (8), how many (2), zero (2), extents as above.
"""

from __future__ import annotations

import stat
import struct
import zlib

from guestd.sfs.block import BLOCK_SIZE, BODY_SIZE
from guestd.sfs.errors import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.sfs.superblock import Superblock

    Extent = tuple[int, int, int]  # first block in the file, first block on the disk, number of blocks

_HEAD = struct.Struct("<IIIIQqqqQQQQBBH")
_EXTENT = struct.Struct("<QQI")
_LEAF = struct.Struct("<QQ")
_LEAF_HEAD = struct.Struct("<QHxx")

ROOM = BODY_SIZE - _HEAD.size
EXTENTS_MAX = ROOM // _EXTENT.size
LEAVES_MAX = ROOM // _LEAF.size
LEAF_EXTENTS_MAX = (BODY_SIZE - _LEAF_HEAD.size) // _EXTENT.size
SYMLINK_SIZE_MAX = ROOM
SIZE_MAX = 1 << 43
LINKS_MAX = 65000
TYPES = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)


_TIME_MAX = (1 << 63) - 1  # the year 2262; what is beyond becomes that
_NUMBER_BITS = 40
_NUMBER = (1 << _NUMBER_BITS) - 1


def _within(time: int) -> int:
    return max(-_TIME_MAX, min(_TIME_MAX, time))


def number_of(identity: int) -> int:
    """The block of the inode with that identity."""
    return identity & _NUMBER


class Inode:
    """Mutable: the working copy of one operation."""

    __slots__ = (
        "atime",
        "blocks",
        "ctime",
        "depth",
        "extents",
        "generation",
        "gid",
        "leaves",
        "mode",
        "mtime",
        "nlink",
        "number",
        "orphan_of",
        "parent",
        "rdev",
        "size",
        "target",
        "uid",
    )

    def __init__(self, number: int, mode: int, uid: int, gid: int, now: int) -> None:
        """A new one, without a name."""
        self.number = number
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.nlink = 0
        self.size = 0
        self.atime = self.mtime = self.ctime = now
        self.generation = 0
        self.blocks = 0
        self.parent = 0
        self.rdev = 0
        self.orphan_of: int | None = None  # slot of the list of orphans that it is on
        self.depth = 0
        self.extents: list[Extent] = []  # depth 0
        self.leaves: list[tuple[int, int]] = []  # depth 1: first block in the file, number of the block
        self.target = b""

    @property
    def identity(self) -> int:
        """What entries of directories and callers name it by."""
        tag = zlib.crc32(self.generation.to_bytes(8, "little")) & 0xFFFFFF if self.generation else 0
        return tag << _NUMBER_BITS | self.number

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)

    def copy(self) -> Inode:
        """One that may be changed while this one stays as it is."""
        other = Inode(self.number, self.mode, self.uid, self.gid, self.atime)
        other.nlink, other.size = self.nlink, self.size
        other.mtime, other.ctime = self.mtime, self.ctime
        other.generation, other.blocks, other.parent, other.rdev = self.generation, self.blocks, self.parent, self.rdev
        other.orphan_of, other.depth = self.orphan_of, self.depth
        other.extents, other.leaves, other.target = list(self.extents), list(self.leaves), self.target
        return other

    def encode(self) -> bytes:
        """The body. Times for which there is no room become the nearest ones."""
        rest: bytes
        if self.is_symlink:
            count, rest = 0, self.target
        elif self.depth:
            count, rest = len(self.leaves), b"".join(_LEAF.pack(*leaf) for leaf in self.leaves)
        else:
            count, rest = len(self.extents), b"".join(_EXTENT.pack(*extent) for extent in self.extents)
        orphan = 0 if self.orphan_of is None else self.orphan_of + 1
        self.atime, self.mtime, self.ctime = _within(self.atime), _within(self.mtime), _within(self.ctime)
        numbers = (self.mode, self.uid, self.gid, self.nlink, self.size, self.atime, self.mtime, self.ctime)
        more = (self.generation, self.blocks, self.parent, self.rdev, orphan, self.depth, count)
        return _HEAD.pack(*numbers, *more) + rest


def decode(superblock: Superblock, number: int, body: bytes) -> Inode:
    """Raises Damaged, also for what does not go together."""
    found = decode_loosely(superblock, number, body)
    wrong = inconsistencies(superblock, found, None if found.depth else found.extents)
    if wrong:
        raise Damaged(f"inode {number} {wrong[0]}")
    return found


def decode_loosely(superblock: Superblock, number: int, body: bytes) -> Inode:
    """For `fsck`, which goes on with what does not go together. Raises Damaged."""
    found = Inode(number, 0, 0, 0, 0)
    orphan: int
    count: int
    (found.mode, found.uid, found.gid, found.nlink, found.size, found.atime, found.mtime, found.ctime) = (
        _HEAD.unpack_from(body)[:8]
    )
    (found.generation, found.blocks, found.parent, found.rdev, orphan, found.depth, count) = _HEAD.unpack_from(body)[8:]
    found.orphan_of = None if orphan == 0 else orphan - 1
    why = _wrong(superblock, found, count)
    if why is not None:
        raise Damaged(f"inode {number}: {why}")
    rest = body[_HEAD.size :]
    if found.is_symlink:
        found.target = rest[: found.size]
    elif found.depth:
        found.leaves = [_LEAF.unpack_from(rest, _LEAF.size * place) for place in range(count)]
        firsts = [first for first, _ in found.leaves]
        blocks = [block for _, block in found.leaves]
        sound = len(set(blocks)) == count and all(map(superblock.is_usable, blocks))
        if not sound or firsts[:1] != [0] or firsts != sorted(set(firsts)):
            raise Damaged(f"inode {number}: blocks of extents {found.leaves}")
    else:
        found.extents = _extents(superblock, f"inode {number}", rest, count)
    return found


def _wrong(superblock: Superblock, found: Inode, count: int) -> str | None:
    if found.mode and (stat.S_IFMT(found.mode) not in TYPES or found.mode >> 16):
        return f"mode {found.mode:o}"
    if found.depth > 1 or count > (LEAVES_MAX if found.depth else EXTENTS_MAX) or (found.depth and not count):
        return f"{count} extents of depth {found.depth}"
    if found.orphan_of is not None and found.orphan_of >= superblock.slots:
        return f"on the list of orphans of slot {found.orphan_of}"
    if found.size > (SYMLINK_SIZE_MAX if found.is_symlink else SIZE_MAX):
        return f"size {found.size}"
    if (found.is_symlink or not (found.is_directory or found.is_regular)) and (count or found.depth):
        return f"{count} extents of something that has no contents"
    if found.is_directory and (not superblock.is_usable(number_of(found.parent)) or found.size % BLOCK_SIZE):
        return f"a directory in {found.parent} of {found.size} bytes"
    if found.nlink > LINKS_MAX or found.blocks > superblock.blocks:
        return f"{found.nlink} names, {found.blocks} blocks"
    return None


def inconsistencies(superblock: Superblock, found: Inode, extents: list[Extent] | None) -> list[str]:
    """What of an inode that exists does not go together. extents: all that it has; None: not known."""
    if not found.mode:
        return []
    wrong = []
    if (found.nlink == 0) != (found.orphan_of is not None):
        wrong.append(f"has {found.nlink} names, and says it is {_orphan(found)}")
    if (found.generation == 0) != (found.number == superblock.root):
        wrong.append(f"is of generation {found.generation}")
    if found.is_directory:
        if found.nlink == 1:
            wrong.append("is a directory with 1 name (legal: 2 and more)")
        if BLOCK_SIZE * (found.blocks - len(found.leaves)) != found.size:
            wrong.append(f"is a directory of {found.size} bytes, and has {found.blocks} blocks")
    elif found.parent:
        wrong.append(f"is no directory, and says that it is in directory {number_of(found.parent)}")
    if not (found.is_directory or found.is_regular) and (found.blocks or (found.size and not found.is_symlink)):
        wrong.append(f"has {found.blocks} blocks and {found.size} bytes, and cannot have contents")
    if found.is_symlink and not found.size:
        wrong.append("is a symbolic link that leads nowhere")
    if extents is not None:
        count = sum(length for _, _, length in extents) + len(found.leaves)
        if count != found.blocks:
            wrong.append(f"has {count} blocks and says {found.blocks}")
        if extents and extents[-1][0] + extents[-1][2] > -(-found.size // BLOCK_SIZE):
            wrong.append(f"has blocks behind its end at {found.size} bytes")
    return wrong


def _orphan(found: Inode) -> str:
    return "no orphan" if found.orphan_of is None else f"an orphan of slot {found.orphan_of}"


def encode_leaf(inode: int, extents: list[Extent]) -> bytes:
    """The body of a block of extents."""
    return _LEAF_HEAD.pack(inode, len(extents)) + b"".join(_EXTENT.pack(*extent) for extent in extents)


def decode_leaf(superblock: Superblock, inode: int, number: int, body: bytes) -> list[Extent]:
    """Raises Damaged."""
    owner, count = _LEAF_HEAD.unpack_from(body)
    if owner != inode or not 1 <= count <= LEAF_EXTENTS_MAX:
        raise Damaged(f"block {number} of extents of inode {inode}: {count} extents of inode {owner}")
    return _extents(superblock, f"block {number} of extents of inode {inode}", body[_LEAF_HEAD.size :], count)


def _extents(superblock: Superblock, where: str, data: bytes, count: int) -> list[Extent]:
    found: list[Extent] = [_EXTENT.unpack_from(data, _EXTENT.size * place) for place in range(count)]
    end = 0
    for first, block, length in found:
        if first < end or not superblock.is_usable(block, length) or first + length > SIZE_MAX // BLOCK_SIZE:
            raise Damaged(f"{where}: an extent of {length} blocks at {block} for block {first} of the file")
        end = first + length
    return found
