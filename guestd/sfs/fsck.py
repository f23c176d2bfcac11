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
from guestd.sfs.block import BLOCK_SIZE, BODY_SIZE, Kind, unseal
from guestd.sfs.errors import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.sfs.directory import Entry
    from guestd.sfs.inode import Extent, Inode
    from guestd.sfs.journal_form import Head
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
        block = read(0)
        geometry = superblock.decode(block, blocks)
    except Damaged as why:
        report.wrong.append(str(why))
        return report
    if geometry.encode() != block:
        report.wrong.append("the superblock says more than there is to say")
    if blocks > geometry.blocks + 1:  # `mkfs` leaves one that is of no use to a group
        report.notes.append(f"the volume has {blocks - geometry.blocks} blocks more than the file system")
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
        self._owned = [0] * geometry.groups  # of each group: bits of the blocks that belong to something
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

    def _is_all(self, where: str, body: bytes, encoded: bytes) -> None:
        """What was understood has to be all that stands there."""
        if encoded.ljust(BODY_SIZE, b"\0") != body:
            self._wrong(f"{where} says more than there is to say")

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
        try:
            self._transaction(slot, head)
        except Damaged as why:
            self._wrong(str(why))

    def _transaction(self, slot: int, head: Head) -> None:
        """What a replay would write. Raises Damaged."""
        geometry, notes = self._geometry, self._report.notes
        at = geometry.transaction(slot)
        block = self._disk(at)
        found = journal_form.transaction_in(geometry, slot, head, block)
        if found is None:
            if head.cleared or block != bytes(BLOCK_SIZE):
                notes.append(f"journal {slot}: a transaction that is torn, or was damaged; it counts for nothing")
            return
        if found.number == head.cleared:
            return
        data = b"".join(self._disk(at + 1 + place) for place in range(len(found.images)))
        images = journal_form.images_of(geometry, slot, found, data)
        if images is None:
            notes.append(f"journal {slot}: an image of a transaction is torn, or was damaged; it counts for nothing")
            return
        notes.append(f"journal {slot} is to be replayed: {len(images)} blocks")
        for number, image in images.items():
            if number in self._images:
                self._wrong(f"block {number} is changed by the transactions of two journals")
            self._images[number] = image

    def _list(self, slot: int) -> None:
        try:
            body = self._read(Kind.ORPHANS, self._geometry.orphans(slot))
            found = orphans.decode(self._geometry, slot, body)
        except Damaged as why:
            self._wrong(str(why))
            return
        self._is_all(f"the list of orphans of slot {slot}", body, orphans.encode(found))
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
                body = self._read(Kind.INODE, number)
                found = inode.decode_loosely(self._geometry, number, body)
            except Damaged as why:
                self._wrong(str(why))
                continue
            self._is_all(f"inode {number}", body, found.encode())
            self._inodes[number] = found
            self._own(number, 1, number)
            extents, are_all = self._extents(found)
            wrong = inode.inconsistencies(self._geometry, found, extents if are_all else None)
            self._report.wrong += [f"inode {number} {why}" for why in wrong]
            if found.is_directory:
                waiting += self._directory(found, extents)

    def _own(self, block: int, count: int, owner: int) -> None:
        """Blocks in a row of one group. Of those that are another's too the first is named, and its owner stays."""
        group = self._geometry.group_of(block)
        bits = bitmap.mask(block - self._geometry.group_start(group), count)
        if not self._owned[group] & bits:
            self._owners.update(dict.fromkeys(range(block, block + count), owner))
        else:
            shared = [one for one in range(block, block + count) if one in self._owners]
            for other in dict.fromkeys(self._owners[one] for one in shared):
                first = next(one for one in shared if self._owners[one] == other)
                self._wrong(f"block {first} belongs to inode {other} and to inode {owner}")
            for one in range(block, block + count):
                self._owners.setdefault(one, owner)
        self._owned[group] |= bits

    def _extents(self, found: Inode) -> tuple[list[Extent], bool]:
        """And whether these are all of them."""
        extents = list(found.extents)
        are_all = True
        for place, (first, block) in enumerate(found.leaves):
            self._own(block, 1, found.number)
            try:
                body = self._read(Kind.EXTENTS, block)
                leaf = inode.decode_leaf(self._geometry, found.number, block, body)
            except Damaged as why:
                self._wrong(str(why))
                are_all = False
                continue
            self._is_all(f"inode {found.number}: block {block} of extents", body, inode.encode_leaf(found.number, leaf))
            after = found.leaves[place + 1][0] if place + 1 < len(found.leaves) else None
            if leaf[0][0] < first or (after is not None and leaf[-1][0] + leaf[-1][2] > after):
                self._wrong(f"inode {found.number}: block {block} of extents has others than those from {first} on")
            extents += leaf
        for _, block, length in extents:
            self._own(block, length, found.number)
        return extents, are_all

    def _directory(self, found: Inode, extents: list[Extent]) -> list[int]:
        """The inodes that its entries lead to."""
        blocks = [block + place for _, block, length in extents for place in range(length)]
        if [first for first, _, length in extents for first in range(first, first + length)] != list(
            range(len(blocks))
        ):
            self._wrong(f"directory {found.number} has a hole")
        entries: list[Entry] = []
        for block in blocks:
            try:
                body = self._read(Kind.DIRECTORY, block)
                here = directory.decode(self._geometry, found.number, block, body)
            except Damaged as why:
                self._wrong(str(why))
                continue
            where = f"directory {found.number}: block {block}"
            self._is_all(where, body, directory.encode(found.number, here))
            entries += here
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
            target = inode.decode_loosely(self._geometry, number, self._read(Kind.INODE, number))
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
        root = self._inodes.get(self._geometry.root)
        if root is not None and not (root.is_directory and root.parent == self._geometry.root):
            self._wrong(f"inode {root.number} is the root, with mode {root.mode:o}, in {root.parent}")
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
            differ = (used ^ self._owned[group]) & bitmap.mask(1, size - 1)
            while differ:
                place = (differ & -differ).bit_length() - 1
                differ &= differ - 1
                block = start + place
                if used >> place & 1:
                    self._wrong(f"block {block} is marked as in use and belongs to nothing")
                else:
                    self._wrong(f"block {block} of inode {self._owners[block]} is marked as free")
