"""fsck names what is inconsistent, each in a sound image in which just that is made wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from guestd.sfs import bitmap, directory, inode, journal_form, mkfs, orphans
from guestd.sfs.block import HEADER_SIZE, Kind, seal, unseal
from tests.unit.sfs_disk import CachedDisk
from tests.unit.sfs_node import UUID, SoloNode, check, formatted

if TYPE_CHECKING:
    from guestd.sfs.inode import Inode

BLOCKS = 700


class Image:
    """A sound file system that can be made wrong block by block."""

    def __init__(self) -> None:
        self.geometry, sectors = formatted(BLOCKS, slots=2, journal_blocks=40)
        node = SoloNode(CachedDisk(sectors), BLOCKS)
        system = node.mount()
        root = system.root
        below = node.run(system.mkdir(root, b"dir", 0o700, 0, 0, 1)).inode
        file = node.run(system.create(root, b"file", 0o600, 0, 0, 1)).inode
        node.run(system.write(file, 0, bytes(20_000), 1))
        other = node.run(system.create(root, b"other", 0o600, 0, 0, 1)).inode
        node.run(system.write(other, 0, bytes(20_000), 1))
        node.run(system.link(other, below, b"link", 1))
        node.run(system.unmount())
        self.root, self.directory = root, inode.number_of(below)
        self.file, self.other = inode.number_of(file), inode.number_of(other)
        self.sectors = node.disk.now

    def block(self, number: int) -> bytes:
        return b"".join(self.sectors[8 * number + place] for place in range(8))

    def put(self, number: int, block: bytes) -> None:
        self.sectors.update({8 * number + place: block[512 * place : 512 * (place + 1)] for place in range(8)})

    def inode(self, number: int) -> Inode:
        return inode.decode(self.geometry, number, unseal(UUID, Kind.INODE, number, self.block(number)))

    def save(self, found: Inode) -> None:
        self.put(found.number, seal(UUID, Kind.INODE, found.number, found.encode()))

    def entries(self, number: int) -> tuple[int, list[tuple[bytes, int, int]]]:
        at = self.inode(number).extents[0][1]
        return at, directory.decode(self.geometry, number, at, self.block(at)[HEADER_SIZE:])

    def save_entries(self, number: int, entries: list[tuple[bytes, int, int]]) -> None:
        at, _ = self.entries(number)
        self.put(at, seal(UUID, Kind.DIRECTORY, at, directory.encode(number, entries)))

    def bits(self, change: Callable[[int], int], group: int) -> None:
        start, size = self.geometry.group_start(group), self.geometry.group_size(group)
        used = bitmap.decode(group, size, self.block(start)[HEADER_SIZE:])
        self.put(start, seal(UUID, Kind.BITMAP, start, bitmap.encode(group, change(used))))


def names_too_many(image: Image) -> None:
    found = image.inode(image.file)
    found.nlink = 2
    image.save(found)


def directory_count_wrong(image: Image) -> None:
    found = image.inode(image.root)
    found.nlink = 2
    image.save(found)


def block_of_two(image: Image) -> None:
    one, two = image.inode(image.file), image.inode(image.other)
    two.extents = list(one.extents)
    image.save(two)


def block_free_and_used(image: Image) -> None:
    at = image.inode(image.file).extents[0][1]
    group = image.geometry.group_of(at)
    image.bits(lambda used: used & ~(1 << (at - image.geometry.group_start(group))), group)


def block_used_by_nothing(image: Image) -> None:
    image.bits(lambda used: used | 1 << 5, 1)


def entry_to_a_deleted_inode(image: Image) -> None:
    found = image.inode(image.file)
    found.mode = found.nlink = 0
    found.extents = []
    image.save(found)


def entry_of_another_generation(image: Image) -> None:
    found = image.inode(image.file)
    found.generation += 1
    image.save(found)


def entry_of_another_type(image: Image) -> None:
    _, entries = image.entries(image.root)
    image.save_entries(image.root, [(name, to, 4) for name, to, _ in entries])


def two_entries_of_one_name(image: Image) -> None:
    _, entries = image.entries(image.root)
    image.save_entries(image.root, [*entries, entries[1]])


def lost_entry(image: Image) -> None:
    _, entries = image.entries(image.root)
    image.save_entries(image.root, [entry for entry in entries if entry[0] != b"file"])


def directory_elsewhere(image: Image) -> None:
    found = image.inode(image.directory)
    found.parent = found.identity
    image.save(found)


def directory_with_two_names(image: Image) -> None:
    _, entries = image.entries(image.root)
    to = next(to for name, to, _ in entries if name == b"dir")
    image.save_entries(image.root, [*entries, (b"again", to, 4)])


def blocks_behind_the_end(image: Image) -> None:
    found = image.inode(image.file)
    found.size = 4096
    image.save(found)


def count_of_blocks_wrong(image: Image) -> None:
    found = image.inode(image.file)
    found.blocks += 1
    image.save(found)


def orphan_not_listed(image: Image) -> None:
    found = image.inode(image.file)
    found.orphan_of = 1
    image.save(found)


def orphan_with_a_name(image: Image) -> None:
    orphan_not_listed(image)
    at = image.geometry.orphans(1)
    image.put(at, seal(UUID, Kind.ORPHANS, at, orphans.encode([image.file])))


def on_two_lists(image: Image) -> None:
    for slot in (0, 1):
        at = image.geometry.orphans(slot)
        image.put(at, seal(UUID, Kind.ORPHANS, at, orphans.encode([image.file])))


def block_in_two_journals(image: Image) -> None:
    for slot in (0, 1):
        head = image.geometry.head(slot)
        image.put(head, seal(UUID, Kind.JOURNAL, head, journal_form.Head(1, True, 1).encode()))
        at = image.geometry.transaction(slot)
        found = image.block(image.root)
        described = journal_form.describe(1000, [(image.root, found)]).encode()
        image.put(at, seal(UUID, Kind.TRANSACTION, at, described))
        image.put(at + 1, found)


def smaller_volume(image: Image) -> None:
    geometry = mkfs.layout(BLOCKS + 100, UUID, slots=2)
    image.put(0, geometry.encode())


@dataclass(frozen=True)
class Case:
    made: Callable[[Image], None]
    said: str


CASES = [
    Case(names_too_many, "says 2 names and has 1"),
    Case(directory_count_wrong, "says 2 names and has 3"),
    Case(block_of_two, "belongs to inode"),
    Case(block_free_and_used, "is marked as free"),
    Case(block_used_by_nothing, "is marked as in use and belongs to nothing"),
    Case(entry_to_a_deleted_inode, "has been deleted"),
    Case(entry_of_another_generation, "is another one than that of the entry"),
    Case(entry_of_another_type, "the entry says 4"),
    Case(two_entries_of_one_name, "has two entries"),
    Case(lost_entry, "belongs to nothing"),
    Case(directory_elsewhere, "says that it is in directory"),
    Case(directory_with_two_names, "has 2 names"),
    Case(blocks_behind_the_end, "has blocks behind its end at 4096 bytes"),
    Case(count_of_blocks_wrong, "has 5 blocks and says 6"),
    Case(orphan_not_listed, "says it is an orphan of slot 1, and is on list None"),
    Case(orphan_with_a_name, "is an orphan with 1 names"),
    Case(on_two_lists, "is on the lists of orphans of slots 0 and 1"),
    Case(block_in_two_journals, "is changed by the transactions of two journals"),
    Case(smaller_volume, "the volume only 700"),
]


def test_the_image_is_sound() -> None:
    report = check(Image().sectors, BLOCKS)
    assert (report.wrong, report.notes) == ([], [])


@pytest.mark.parametrize("case", CASES, ids=[case.made.__name__ for case in CASES])
def test_what_is_wrong_is_named(case: Case) -> None:
    image = Image()
    case.made(image)
    wrong = check(image.sectors, BLOCKS).wrong
    assert any(case.said in line for line in wrong), wrong
