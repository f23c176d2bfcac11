"""Blocks with a right checksum that say what cannot be: an errno or a refusal with the reason, and fsck names each.

Each of these did harm once: an exception that is no FsError, an image written to a wrong place, a transaction that was
passed over without a word.
"""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from guestd.sfs import bitmap, directory, inode, journal_form
from guestd.sfs.block import HEADER_SIZE, Kind, checksum, seal, unseal
from guestd.sfs.errors import FsError
from guestd.sfs.filesystem import FileSystem
from guestd.sfs.mount import NotMounted
from guestd.sfs.superblock import Superblock
from tests.unit.sfs_disk import CachedDisk
from tests.unit.sfs_node import UUID, SoloNode, check, formatted

if TYPE_CHECKING:
    from guestd.sfs.inode import Inode
    from guestd.tasks.steps import Task

BLOCKS = 700


class Image:
    """Of one node that has died, with a transaction in its journal that is in place; numbers of what is in it."""

    def __init__(self) -> None:
        self.geometry, sectors = formatted(BLOCKS, journal_blocks=40)
        node = SoloNode(CachedDisk(sectors), BLOCKS)
        system = node.mount()
        root = system.root
        self.root = root
        self.below = inode.number_of(node.run(system.mkdir(root, b"below", 0o755, 1, 2, 3)).inode)
        below = node.run(system.lookup(root, b"below")).inode
        self.inner = inode.number_of(node.run(system.mkdir(below, b"inner", 0o755, 1, 2, 3)).inode)
        self.file = inode.number_of(node.run(system.create(root, b"file", 0o644, 1, 2, 3)).inode)
        pieces = node.run(system.create(root, b"pieces", 0o644, 1, 2, 3)).inode
        self.pieces = inode.number_of(pieces)
        for count in range(210):
            node.run(system.write(pieces, count * 8192, b"%d" % count, 4))
        node.run(system.sync())
        node.run(system.journal.settle((1, self.root)))  # so that the head says something
        node.run(system.setattr(root, 9, mode=0o700))
        node.run(system.sync())
        self.sectors = node.disk.now

    def block(self, number: int) -> bytes:
        return b"".join(self.sectors[8 * number + place] for place in range(8))

    def put(self, number: int, block: bytes) -> None:
        self.sectors.update({8 * number + place: block[512 * place : 512 * (place + 1)] for place in range(8)})

    def seal(self, kind: Kind, number: int, body: bytes) -> None:
        self.put(number, seal(UUID, kind, number, body))

    def body(self, number: int) -> bytes:
        return self.block(number)[HEADER_SIZE:]

    def inode(self, number: int) -> Inode:
        return inode.decode(self.geometry, number, self.body(number))

    def save(self, found: Inode) -> None:
        self.seal(Kind.INODE, found.number, found.encode())

    def raw(self, number: int, offset: int, data: bytes, kind: Kind = Kind.INODE) -> None:
        body = self.body(number)
        self.seal(kind, number, body[:offset] + data + body[offset + len(data) :])

    def entries(self, number: int, change: Callable[[list[Any]], list[Any]]) -> None:
        at = self.inode(number).extents[0][1]
        found = directory.decode(self.geometry, number, at, self.body(at))
        self.seal(Kind.DIRECTORY, at, directory.encode(number, change(found)))

    def description(self) -> journal_form.Description:
        at = self.geometry.transaction(0)
        body = unseal(UUID, Kind.TRANSACTION, at, self.block(at))
        return journal_form.decode_description(self.geometry, 0, body)

    def describe(self, number: int, images: tuple[tuple[int, int], ...]) -> None:
        body = journal_form.Description(number, images).encode()
        self.seal(Kind.TRANSACTION, self.geometry.transaction(0), body)

    def head(self, cleared: int, *, in_use: bool) -> None:
        self.seal(Kind.JOURNAL, self.geometry.head(0), journal_form.Head(cleared, in_use, 1).encode())


def too_few_blocks(image: Image) -> None:
    found = image.inode(image.pieces)
    found.blocks = 3
    image.save(found)


def too_many_blocks(image: Image) -> None:
    found = image.inode(image.pieces)
    found.blocks = (1 << 64) - 1
    image.save(found)


def no_leaves(image: Image) -> None:
    image.raw(image.pieces, 82, bytes(2))


def leaf_of_another_place(image: Image) -> None:
    found = image.inode(image.pieces)
    found.leaves[1] = (found.leaves[1][0] + 7, found.leaves[1][1])
    image.save(found)


def a_name_of_an_orphan(image: Image) -> None:
    found = image.inode(image.file)
    found.nlink = 0
    image.save(found)


def directories_that_are_not_counted(image: Image) -> None:
    found = image.inode(image.below)
    found.nlink = 2
    image.save(found)


def a_mode_that_is_none(image: Image) -> None:
    found = image.inode(image.file)
    found.mode |= 1 << 20
    image.save(found)


def the_inode_of_a_directory_is_free(image: Image) -> None:
    group = image.geometry.group_of(image.below)
    start, size = image.geometry.group_start(group), image.geometry.group_size(group)
    used = bitmap.decode(group, size, image.body(start))
    only = bitmap.beyond(size) | bitmap.mask(0, size) & ~(1 << (image.below - start))
    assert used != only
    image.seal(Kind.BITMAP, start, bitmap.encode(group, only))
    for other in range(image.geometry.groups):
        if other != group:
            start, size = image.geometry.group_start(other), image.geometry.group_size(other)
            image.seal(Kind.BITMAP, start, bitmap.encode(other, bitmap.beyond(size) | bitmap.mask(0, size)))


def an_entry_for_the_root(image: Image) -> None:
    kind = stat.S_IFDIR >> 12
    image.entries(image.root, lambda found: [*found, (b"again", image.root, kind)])


def an_entry_of_another_type(image: Image) -> None:
    image.entries(image.root, lambda found: [(name, to, 1 if name == b"file" else kind) for name, to, kind in found])


def a_parent_that_is_none(image: Image) -> None:
    found = image.inode(image.below)
    found.parent = image.file
    image.save(found)


def a_directory_with_a_smaller_size(image: Image) -> None:
    found = image.inode(image.below)
    found.size = 0
    image.save(found)


@dataclass(frozen=True)
class Use:
    made: Callable[[Image], None]
    uses: Callable[[Image, FileSystem, int], Task[Any]]
    """The operation; the last argument is the identity of what it is about."""
    about: bytes
    named: str


def _truncate(size: int) -> Callable[[Image, FileSystem, int], Task[Any]]:
    return lambda _, system, about: system.setattr(about, 9, size=size)


USES = [
    Use(too_few_blocks, _truncate(0), b"pieces", "and says 3"),
    Use(
        too_many_blocks, lambda _, system, about: system.write(about, 4096, b"x", 9), b"pieces", "18446744073709551615"
    ),
    Use(no_leaves, lambda _, system, about: system.write(about, 4096, b"x", 9), b"pieces", "0 extents of depth 1"),
    Use(leaf_of_another_place, lambda _, system, about: system.read(about, 0, 1 << 21), b"pieces", "has others than"),
    Use(a_name_of_an_orphan, lambda _, system, __: system.unlink(system.root, b"file", 9), b"", "has 0 names"),
    Use(
        directories_that_are_not_counted,
        lambda _, system, about: system.rmdir(about, b"inner", 9),
        b"below",
        "says 2 names and has 3",
    ),
    Use(a_mode_that_is_none, lambda _, system, about: system.lookup(about, b"file"), b"", "mode 4100644"),
    Use(
        the_inode_of_a_directory_is_free,
        lambda _, system, about: system.create(about, b"new", 0o600, 0, 0, 9),
        b"below",
        "is marked as free",
    ),
    Use(
        an_entry_for_the_root,
        lambda _, system, about: system.rename(system.root, b"again", about, b"moved", 0, 9),
        b"below",
        "directory 42 has 1 names",
    ),
    Use(an_entry_of_another_type, lambda _, system, __: system.lookup(system.root, b"file"), b"", "the entry says 1"),
    Use(a_parent_that_is_none, lambda _, system, about: system.lookup(about, b".."), b"below", "says that it is in"),
    Use(a_directory_with_a_smaller_size, lambda _, system, about: system.readdir(about), b"below", "of 0 bytes"),
]


def identity_of(image: Image, name: bytes) -> int:
    number = {b"": image.root, b"below": image.below, b"pieces": image.pieces}[name]
    return inode.decode_loosely(image.geometry, number, image.body(number)).identity


@pytest.mark.parametrize("case", USES, ids=[case.made.__name__ for case in USES])
def test_what_cannot_be_is_an_error_of_whoever_comes_upon_it(case: Use) -> None:
    image = Image()
    about = identity_of(image, case.about) if case.made is not no_leaves else image.inode(image.pieces).identity
    case.made(image)
    # A journal that has been cleared: what is in place is looked at.
    image.head(image.description().number, in_use=True)
    wrong = check(image.sectors, BLOCKS).wrong
    assert any(case.named in line for line in wrong), wrong
    node = SoloNode(CachedDisk(image.sectors), BLOCKS)
    system = node.mount(2)
    before = dict(node.disk.now)
    with pytest.raises(FsError) as caught:
        node.run(case.uses(image, system, about))
    assert caught.value.errno == errno.EIO
    node.run(system.unmount())
    head = range(8 * image.geometry.head(0), 8 * image.geometry.head(0) + 8)
    assert [lba for lba, data in node.disk.now.items() if data != before[lba] and lba not in head] == []


def an_image_of_another_place(image: Image) -> None:
    found = image.description()
    images = [(image.file, found.images[0][1]), *found.images[1:]]
    image.describe(found.number, tuple(images))


def an_image_of_another_kind(image: Image) -> None:
    data = seal(UUID, Kind.JOURNAL, image.file, b"")
    image.put(image.geometry.transaction(0) + 1, data)
    described = journal_form.describe(image.description().number, [(image.file, data)])
    image.describe(described.number, described.images)


def a_block_twice(image: Image) -> None:
    found = image.description()
    image.describe(found.number, (*found.images, found.images[0]))


def a_block_that_is_no_operations(image: Image) -> None:
    found = image.description()
    image.describe(found.number, ((image.geometry.head(0), found.images[0][1]), *found.images[1:]))


def a_head_that_is_ahead(image: Image) -> None:
    image.head(image.description().number + 1, in_use=True)


def a_head_that_says_nobody_uses_it(image: Image) -> None:
    image.head(image.description().number - 1, in_use=False)


def a_number_without_a_next_one(image: Image) -> None:
    image.put(image.geometry.transaction(0), bytes(4096))
    image.head((1 << 64) - 1, in_use=False)


def a_description_that_is_zeros(image: Image) -> None:
    image.put(image.geometry.transaction(0), bytes(4096))


def a_description_that_is_another_block(image: Image) -> None:
    image.put(image.geometry.transaction(0), image.block(image.file))


def a_description_with_too_much(image: Image) -> None:
    image.raw(image.geometry.transaction(0), 3000, b"x", Kind.TRANSACTION)


def another_root(image: Image) -> None:
    geometry = image.geometry
    found = Superblock(UUID, geometry.blocks, 1, geometry.journal_blocks, geometry.group_blocks, image.below)
    image.put(0, found.encode())


def something_in_the_frame(image: Image) -> None:
    block = image.block(image.geometry.head(0))
    block = block[:6] + b"x" + block[7:]
    image.put(image.geometry.head(0), block[:8] + checksum(block).to_bytes(4, "little") + block[12:])


REFUSED = [
    (an_image_of_another_place, "says that it is block"),
    (an_image_of_another_kind, "makes block .* journal"),
    (a_block_twice, "changes the blocks"),
    (a_block_that_is_no_operations, r"changes the blocks \[1\]"),
    (a_head_that_is_ahead, "its head says in use, and in place up to"),
    (a_head_that_says_nobody_uses_it, "its head says not in use, and in place up to"),
    (a_number_without_a_next_one, "more than there is to say"),
    (a_description_that_is_zeros, "the transaction in journal 0: block 3 begins with"),
    (a_description_that_is_another_block, "the transaction in journal 0: block 3 says that it is block"),
    (a_description_with_too_much, "the transaction in journal 0 says more than there is to say"),
    (another_root, "the root directory's inode is block"),
    (something_in_the_frame, "says something where there should be zeros"),
]


@pytest.mark.parametrize(("made", "why"), REFUSED, ids=[made.__name__ for made, _ in REFUSED])
def test_a_superblock_or_journal_that_cannot_be_is_refused_with_the_reason_and_nothing_is_written(
    made: Callable[[Image], None], why: str
) -> None:
    image = Image()
    assert 0 < journal_form.decode_head(0, image.body(1)).cleared < image.description().number
    made(image)
    node = SoloNode(CachedDisk(dict(image.sectors)), BLOCKS)
    with pytest.raises(NotMounted, match=why):
        node.mount(2)
    assert node.disk.now == image.sectors
    assert any(re.search(why, line) for line in check(image.sectors, BLOCKS).wrong)


def test_a_transaction_that_is_torn_counts_for_nothing_and_is_noted() -> None:
    for place in (3, 4):  # the description, or an image
        image = Image()
        image.put(place, image.block(place)[:2048] + bytes([7]) * 2048)
        report = check(image.sectors, BLOCKS)
        assert report.wrong == []
        assert any("torn, or was damaged; it counts for nothing" in note for note in report.notes)
        system = SoloNode(CachedDisk(image.sectors), BLOCKS).mount(2)
        assert system.failed is None


def test_a_journal_that_nobody_uses_may_hold_anything() -> None:
    image = Image()
    node = SoloNode(CachedDisk(image.sectors), BLOCKS)
    node.run(node.mount(2).unmount())
    image.sectors = node.disk.now
    image.put(3, b"\xa5" * 4096)
    report = check(image.sectors, BLOCKS)
    assert report.wrong == []
    assert len(report.notes) == 1
    again = SoloNode(CachedDisk(image.sectors), BLOCKS)
    system = again.mount(3)
    again.run(system.setattr(system.root, 10, mode=0o711))
    again.run(system.unmount())
    report = check(again.disk.now, BLOCKS)
    assert (report.wrong, report.notes) == ([], [])
