"""Looks a file system over and names every inconsistency. Reads only.

    report = check(read, blocks)          # read(number) -> 4096 bytes
    report.wrong                          # [] if it is sound
    report.notes                          # what is no fault: journals to be replayed, orphans to be freed

A transaction that a replay would carry out is looked at as if it had been (and noted): the file system is sound if it
is after the replay.
"""

from __future__ import annotations

import stat

from guestd.sfs import bitmap, directory, inode, journal_form, orphans, superblock
from guestd.sfs.block import BLOCK_SIZE, Kind, unseal
from guestd.sfs.errors import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.sfs.directory import Entry
    from guestd.sfs.inode import Extent, Inode
    from guestd.sfs.superblock import Superblock

    Reader = Callable[[int], bytes]


class Report:
    """What was found; each a sentence."""

    __slots__ = ("notes", "wrong")

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.notes: list[str] = []


def check(read: Reader, blocks: int) -> Report:
    """read: the contents of a block by its number; blocks: of the volume."""
    report = Report()
    try:
        geometry = superblock.decode(read(0), blocks)
    except Damaged as why:
        report.wrong.append(str(why))
        return report
    _Check(read, geometry, report).run()
    return report


class _Check:
    """One run."""

    def __init__(self, read: Reader, geometry: Superblock, report: Report) -> None:
        self._disk = read
        self._geometry = geometry
        self._report = report
        self._images: dict[int, bytes] = {}  # what a replay would write
        self._owners: dict[int, int] = {}  # block -> inode
        self._inodes: dict[int, Inode] = {}
        self._names: dict[int, int] = {}  # inode -> entries that lead to it
        self._below: dict[int, int] = {}  # directory -> directories in it
        self._orphans: dict[int, int] = {}  # inode -> slot

    def run(self) -> None:
        for slot in range(self._geometry.slots):
            self._journal(slot)
        for slot in range(self._geometry.slots):
            self._list(slot)
        self._visit(self._geometry.root)
        for number in self._orphans:
            if number not in self._inodes:
                self._visit(number)
        self._compare_inodes()
        self._compare_bitmaps()

    def _wrong(self, what: str) -> None:
        self._report.wrong.append(what)

    def _read(self, kind: Kind, number: int) -> bytes:
        block = self._images.get(number) or self._disk(number)
        return unseal(self._geometry.uuid, kind, number, block)

    # -- journals and orphans

    def _journal(self, slot: int) -> None:
        geometry = self._geometry
        try:
            head = journal_form.decode_head(slot, self._read(Kind.JOURNAL, geometry.head(slot)))
        except Damaged as why:
            self._wrong(str(why))
            return
        if head.in_use:
            self._report.notes.append(f"journal {slot} is in use, or its node has died")
        at = geometry.transaction(slot)
        try:
            body = unseal(geometry.uuid, Kind.TRANSACTION, at, self._disk(at))
            found = journal_form.decode_description(geometry, slot, body)
        except Damaged:
            return  # none, or a torn one
        images = [self._disk(at + 1 + place) for place in range(len(found.images))]
        if found.number > head.cleared and found.matches(images):
            self._report.notes.append(f"journal {slot} is to be replayed: {len(images)} blocks")
            for (number, _), image in zip(found.images, images, strict=True):
                if number in self._images:
                    self._wrong(f"block {number} is changed by the transactions of two journals")
                self._images[number] = image

    def _list(self, slot: int) -> None:
        try:
            found = orphans.decode(self._geometry, slot, self._read(Kind.ORPHANS, self._geometry.orphans(slot)))
        except Damaged as why:
            self._wrong(str(why))
            return
        for number in found:
            if number in self._orphans:
                self._wrong(f"inode {number} is on the lists of orphans of slots {self._orphans[number]} and {slot}")
            self._orphans[number] = slot
            self._report.notes.append(f"inode {number} is an orphan of slot {slot}")

    # -- the tree

    def _visit(self, first: int) -> None:
        waiting = [first]
        while waiting:
            number = waiting.pop()
            if number in self._inodes:
                continue
            try:
                found = inode.decode(self._geometry, number, self._read(Kind.INODE, number))
            except Damaged as why:
                self._wrong(str(why))
                continue
            self._inodes[number] = found
            self._own(number, 1, number)
            extents = self._extents(found)
            if found.is_directory:
                waiting += self._directory(found, extents)

    def _own(self, block: int, count: int, owner: int) -> None:
        for one in range(block, block + count):
            if one in self._owners:
                self._wrong(f"block {one} belongs to inode {self._owners[one]} and to inode {owner}")
            self._owners[one] = owner

    def _extents(self, found: Inode) -> list[Extent]:
        extents = list(found.extents)
        count = len(found.leaves)
        for place, (first, block) in enumerate(found.leaves):
            self._own(block, 1, found.number)
            try:
                leaf = inode.decode_leaf(self._geometry, found.number, block, self._read(Kind.EXTENTS, block))
            except Damaged as why:
                self._wrong(str(why))
                continue
            after = found.leaves[place + 1][0] if place + 1 < len(found.leaves) else None
            if leaf[0][0] < first or (after is not None and leaf[-1][0] + leaf[-1][2] > after):
                self._wrong(f"inode {found.number}: block {block} of extents has others than those from {first} on")
            extents += leaf
        for _, block, length in extents:
            self._own(block, length, found.number)
            count += length
        if count != found.blocks:
            self._wrong(f"inode {found.number} has {count} blocks and says {found.blocks}")
        end = -(-found.size // BLOCK_SIZE)
        if extents and not found.is_symlink and extents[-1][0] + extents[-1][2] > end:
            self._wrong(f"inode {found.number} has blocks behind its end at {found.size} bytes")
        return extents

    def _directory(self, found: Inode, extents: list[Extent]) -> list[int]:
        """The inodes that its entries lead to."""
        blocks = [block + place for _, block, length in extents for place in range(length)]
        if len(blocks) * BLOCK_SIZE != found.size:
            self._wrong(f"directory {found.number} has {len(blocks)} blocks and a size of {found.size} bytes")
        entries: list[Entry] = []
        for block in blocks:
            try:
                body = self._read(Kind.DIRECTORY, block)
                entries += directory.decode(self._geometry, found.number, block, body)
            except Damaged as why:
                self._wrong(str(why))
        names: dict[bytes, None] = {}
        for name, _, _ in entries:
            if name in names:
                self._wrong(f"directory {found.number} has two entries {name!r}")
            names[name] = None
        for name, number, kind in entries:
            to = inode.number_of(number)
            self._names[to] = self._names.get(to, 0) + 1
            self._entry(found, name, number, kind)
        return [inode.number_of(number) for _, number, _ in entries]

    def _entry(self, found: Inode, name: bytes, identity: int, kind: int) -> None:
        number = inode.number_of(identity)
        try:
            target = inode.decode(self._geometry, number, self._read(Kind.INODE, number))
        except Damaged:
            return  # named when it is visited
        where = f"directory {found.number}: {name!r}, inode {number}"
        if target.mode == 0:
            self._wrong(f"{where} has been deleted")
        elif target.identity != identity:
            self._wrong(f"{where} is another one than that of the entry")
        elif stat.S_IFMT(target.mode) >> 12 != kind:
            self._wrong(f"{where} is of type {stat.S_IFMT(target.mode) >> 12:o}, the entry says {kind:o}")
        if target.is_directory:
            self._below[found.number] = self._below.get(found.number, 0) + 1
            if target.parent != found.identity:
                self._wrong(f"{where} says that it is in directory {inode.number_of(target.parent)}")

    # -- comparisons

    def _compare_inodes(self) -> None:
        for number, found in self._inodes.items():
            names = self._names.get(number, 0)
            if found.is_directory and (names or number == self._geometry.root):
                if names != (number != self._geometry.root):
                    self._wrong(f"directory {number} has {names} names")
                names = 2 + self._below.get(number, 0)
            if found.nlink != names:
                self._wrong(f"inode {number} says {found.nlink} names and has {names}")
            if found.orphan_of != self._orphans.get(number):
                listed = self._orphans.get(number)
                self._wrong(f"inode {number} says it is an orphan of slot {found.orphan_of}, and is on list {listed}")
            elif found.orphan_of is not None and (names or not found.mode):
                self._wrong(f"inode {number} is an orphan with {names} names and the mode {found.mode:o}")

    def _compare_bitmaps(self) -> None:
        geometry = self._geometry
        for group in range(geometry.groups):
            start, size = geometry.group_start(group), geometry.group_size(group)
            try:
                used = bitmap.decode(group, size, self._read(Kind.BITMAP, start))
            except Damaged as why:
                self._wrong(str(why))
                continue
            for place in range(1, size):
                block = start + place
                marked = bool(used >> place & 1)
                if marked and block not in self._owners:
                    self._wrong(f"block {block} is marked as in use and belongs to nothing")
                elif not marked and block in self._owners:
                    self._wrong(f"block {block} of inode {self._owners[block]} is marked as free")
