"""Operations of the file system on one node, compared with a model; limits; errors of the disk."""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING, Any

import pytest

from guestd.sfs.errors import FsError
from guestd.sfs.filesystem import FileSystem
from guestd.sfs.inode import number_of
from tests.unit.sfs_disk import CachedDisk
from tests.unit.sfs_model import random_operations
from tests.unit.sfs_node import SoloNode, check, formatted

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

BLOCKS = 1500


def fresh(blocks: int = BLOCKS, journal_blocks: int | None = None) -> tuple[SoloNode, FileSystem]:
    _, sectors = formatted(blocks, journal_blocks=journal_blocks)
    node = SoloNode(CachedDisk(sectors), blocks)
    return node, node.mount()


def code(node: SoloNode, task: Task[Any]) -> int:
    """The errno that it fails with."""
    with pytest.raises(FsError) as caught:
        node.run(task)
    return caught.value.errno


def clean(node: SoloNode, blocks: int = BLOCKS) -> None:
    report = check(node.disk.now, blocks)
    assert report.wrong == []


@pytest.mark.parametrize("seed", range(6))
def test_random_operations_answer_as_the_model_does(seed: int) -> None:
    assert random_operations(seed) > 100


def test_names_and_paths_have_their_limits() -> None:
    node, system = fresh()
    root = system.root
    node.run(system.create(root, b"x" * 255, 0o600, 0, 0, 1))
    for name, number in (
        (b"x" * 256, errno.ENAMETOOLONG),
        (b"", errno.ENOENT),
        (b".", errno.EINVAL),
        (b"..", errno.EINVAL),
        (b"a/b", errno.EINVAL),
        (b"a\0b", errno.EINVAL),
    ):
        assert code(node, system.create(root, name, 0o600, 0, 0, 1)) == number
        assert code(node, system.rename(root, b"x" * 255, root, name, 0, 1)) == number
    assert code(node, system.lookup(root, b"x" * 256)) == errno.ENAMETOOLONG
    assert code(node, system.symlink(root, b"s", b"t" * 5000, 0, 0, 1)) == errno.ENAMETOOLONG
    assert code(node, system.symlink(root, b"s", b"", 0, 0, 1)) == errno.ENOENT
    assert code(node, system.lookup(root, b"none")) == errno.ENOENT
    node.run(system.sync())
    clean(node)


def test_what_has_no_sense_is_refused() -> None:
    node, system = fresh()
    root = system.root
    file = node.run(system.create(root, b"file", 0o600, 0, 0, 1)).inode
    directory = node.run(system.mkdir(root, b"dir", 0o700, 0, 0, 1)).inode
    below = node.run(system.mkdir(directory, b"below", 0o700, 0, 0, 1)).inode
    fifo = node.run(system.mknod(root, b"fifo", 0o010600, 0, 0, 1)).inode
    for task, number in (
        (system.lookup(file, b"x"), errno.ENOTDIR),
        (system.create(file, b"x", 0o600, 0, 0, 1), errno.ENOTDIR),
        (system.read(directory, 0, 1), errno.EISDIR),
        (system.write(directory, 0, b"x", 1), errno.EISDIR),
        (system.write(fifo, 0, b"x", 1), errno.EINVAL),
        (system.write(file, 1 << 43, b"x", 1), errno.EFBIG),
        (system.setattr(file, 1, size=1 << 50), errno.EFBIG),
        (system.setattr(directory, 1, size=0), errno.EISDIR),
        (system.readlink(file), errno.EINVAL),
        (system.readdir(file), errno.ENOTDIR),
        (system.link(directory, root, b"again", 1), errno.EPERM),
        (system.unlink(root, b"dir", 1), errno.EISDIR),
        (system.rmdir(root, b"file", 1), errno.ENOTDIR),
        (system.rmdir(root, b"dir", 1), errno.ENOTEMPTY),
        (system.rename(root, b"dir", below, b"x", 0, 1), errno.EINVAL),
        (system.rename(directory, b"below", root, b"dir", 0, 1), errno.ENOTEMPTY),
        (system.rename(root, b"dir", root, b"file", 0, 1), errno.ENOTDIR),
        (system.rename(root, b"file", root, b"dir", 0, 1), errno.EISDIR),
        (system.rename(root, b"file", root, b"dir", 4, 1), errno.EINVAL),
        (system.getattr(file + 1), errno.EIO),  # a block that holds no inode
        (system.getattr(1), errno.ESTALE),
        (system.getattr(1 << 60), errno.ESTALE),
        (system.release(file), errno.EBADF),
        (system.mknod(root, b"x", 0o040700, 0, 0, 1), errno.EINVAL),
        (system.mknod(root, b"x", 0o170700, 0, 0, 1), errno.EINVAL),
        (system.mknod(root, b"x", 0o020700, 0, 0, 1, rdev=-1), errno.EINVAL),
        (system.read(file, -1, 5), errno.EINVAL),
        (system.write(file, -1, b"x", 1), errno.EINVAL),
        (system.setattr(file, 1, size=-1), errno.EINVAL),
        (system.flock(file, 1, 7, wait=False), errno.EINVAL),
    ):
        assert code(node, task) == number
    node.run(system.sync())
    clean(node)


def test_attributes_are_what_was_set_within_what_there_is_room_for() -> None:
    node, system = fresh()
    made = node.run(system.mknod(system.root, b"device", 0o020640, 1000, 0xFFFFFFFF, 5, rdev=(8 << 32) + 1))
    assert (made.mode, made.uid, made.gid, made.rdev, made.nlink) == (0o020640, 1000, 0xFFFFFFFF, (8 << 32) + 1, 1)
    assert (made.atime, made.mtime, made.ctime, made.size, made.blocks) == (5, 5, 5, 0, 8)
    assert node.run(system.mknod(system.root, b"plain", 0o600, 0, 0, 5)).mode == 0o100600
    changed = node.run(system.setattr(made.inode, 9, mode=0o4711, uid=-1, atime=-7, mtime=1 << 70))
    assert (changed.mode, changed.uid, changed.gid) == (0o024711, 0xFFFFFFFF, 0xFFFFFFFF)
    node.run(system.unmount())
    again = SoloNode(node.disk, BLOCKS)
    found = again.run(again.mount(2).lookup(system.root, b"device"))
    assert (found.atime, found.mtime, found.ctime) == (-7, (1 << 63) - 1, 9)
    assert (found.inode, found.mode) == (made.inode, 0o024711)


def test_an_inode_number_that_comes_again_is_another_file() -> None:
    node, system = fresh()
    first = node.run(system.create(system.root, b"first", 0o600, 0, 0, 1)).inode
    node.run(system.unlink(system.root, b"first", 2))
    assert code(node, system.getattr(first)) == errno.ESTALE
    node.run(system.sync())
    second = node.run(system.create(system.root, b"second", 0o600, 0, 0, 3)).inode
    assert second & (1 << 40) - 1 == first & (1 << 40) - 1
    assert code(node, system.write(first, 0, b"x", 4)) == errno.ESTALE
    assert node.run(system.getattr(second)).size == 0


def test_a_file_that_is_open_stays_without_a_name() -> None:
    node, system = fresh()
    file = node.run(system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    node.run(system.open(file))
    node.run(system.unlink(system.root, b"file", 2))
    node.run(system.write(file, 0, b"still here", 3))
    node.run(system.sync())
    report = check(node.disk.now, BLOCKS)
    assert report.wrong == []
    assert any("orphan" in note for note in report.notes)
    assert node.run(system.read(file, 0, 99)) == b"still here"
    assert code(node, system.link(file, system.root, b"back", 4)) == errno.ENOENT
    node.run(system.release(file))
    assert code(node, system.read(file, 0, 99)) == errno.ESTALE
    node.run(system.unmount())
    report = check(node.disk.now, BLOCKS)
    assert (report.wrong, report.notes) == ([], [])


def test_orphans_are_freed_by_the_next_mount() -> None:
    node, system = fresh()
    file = node.run(system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    node.run(system.write(file, 0, bytes(100_000), 1))
    free = node.run(system.statfs()).free
    node.run(system.open(file))
    node.run(system.unlink(system.root, b"file", 2))
    node.run(system.sync())
    again = SoloNode(node.disk, BLOCKS)  # the node died with the file open
    system = again.mount(2)
    assert again.run(system.reap()) == 0
    again.run(system.unmount())
    report = check(node.disk.now, BLOCKS)
    assert (report.wrong, report.notes) == ([], [])
    third = SoloNode(node.disk, BLOCKS)
    assert third.run(third.mount(3).statfs()).free == free + 25 + 1


def test_a_full_file_system_says_so_and_can_be_emptied() -> None:
    node, system = fresh(300, 32)
    root = system.root
    files = []

    def fill() -> int:
        for count in range(1000):
            files.append(node.run(system.create(root, b"%d" % count, 0o600, 0, 0, 1)).inode)
            written: int = node.run(system.write(files[-1], 0, bytes(20_000), 1))
            if written < 20_000:
                return written
        return 0

    assert 0 < fill() < 20_000  # as much as there was room for
    assert code(node, system.create(root, b"more", 0o600, 0, 0, 1)) == errno.ENOSPC
    assert node.run(system.statfs()).free == 0
    assert code(node, system.write(files[0], 1 << 20, b"x", 2)) == errno.ENOSPC
    assert node.run(system.write(files[0], 0, b"in its place", 2)) == 12
    node.run(system.sync())
    clean(node, 300)
    entries = [name for name, _, _ in node.run(system.readdir(root))][2:]
    for name in entries:
        node.run(system.unlink(root, name, 3))
    # What is free in memory only can be had at once: a commit makes it so.
    file = node.run(system.create(root, b"all of it", 0o600, 0, 0, 4)).inode
    assert node.run(system.write(file, 0, bytes(4096 * 200), 4)) == 4096 * 200
    node.run(system.unmount())
    clean(node, 300)


def test_a_file_in_many_pieces_has_blocks_of_extents_and_loses_them_again() -> None:
    node, system = fresh(4000, 60)
    root = system.root
    one = node.run(system.create(root, b"one", 0o600, 0, 0, 1)).inode
    order = list(range(900))
    random.Random(3).shuffle(order)
    for place in order:  # every second block, so that no two extents are one
        node.run(system.write(one, place * 8192, b"%d" % place, 1))
    node.run(system.sync())
    clean(node, 4000)
    again = SoloNode(node.disk, 4000)
    system = again.mount(2)
    for place in range(0, 900, 50):
        assert again.run(system.read(one, place * 8192 - 3 * (place > 0), 9)).strip(b"\0") == b"%d" % place
    for size in (5_000_000, 2_000_000, 8192, 0):
        again.run(system.setattr(one, 2, size=size))
        again.run(system.sync())
        clean(again, 4000)
    assert again.run(system.getattr(one)).blocks == 8


def test_a_directory_of_thousands() -> None:
    node, system = fresh(4000, 60)
    big = node.run(system.mkdir(system.root, b"big", 0o700, 0, 0, 1)).inode
    made = {b"file %d" % count: 0 for count in range(1200)}
    for name in made:
        made[name] = node.run(system.create(big, name, 0o600, 0, 0, 1)).inode
    for name in list(made)[::3]:
        node.run(system.unlink(big, name, 2))
        del made[name]
    node.run(system.unmount())
    clean(node, 4000)
    again = SoloNode(node.disk, 4000)
    system = again.mount(2)
    entries = again.run(system.readdir(big))
    assert {name: inode for name, inode, _ in entries[2:]} == made


def test_a_write_that_fails_stops_this_node_and_nothing_is_given_up() -> None:
    node, system = fresh()
    told: list[str] = []
    system.journal.on_failure(told.append)
    file = node.run(system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    node.run(system.fsync(file))
    node.broken = set(range(8, 8 * 100))  # the journal
    node.run(system.write(file, 0, b"x", 2))
    assert code(node, system.fsync(file)) == errno.EIO
    assert len(told) == 1
    assert "journal" in told[0]
    assert code(node, system.getattr(file)) == errno.EIO
    assert code(node, system.unmount()) == errno.EIO
    clean(node)


def test_a_read_that_fails_is_an_error_of_that_operation() -> None:
    node, system = fresh()
    file = node.run(system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    node.run(system.write(file, 0, bytes(10_000), 1))
    node.run(system.unmount())
    again = SoloNode(node.disk, BLOCKS)
    system = again.mount(2)
    number = file & (1 << 40) - 1
    again.broken = {8 * number}
    assert code(again, system.getattr(file)) == errno.EIO
    assert again.run(system.getattr(system.root)).nlink == 2
    again.broken.clear()
    assert again.run(system.getattr(file)).size == 10_000


def test_a_directory_in_the_block_of_a_removed_one_begins_empty() -> None:
    node, system = fresh()
    root = system.root
    one = node.run(system.mkdir(root, b"one", 0o700, 0, 0, 1))
    node.run(system.create(one.inode, b"file", 0o600, 0, 0, 1))
    node.run(system.unlink(one.inode, b"file", 1))
    node.run(system.sync())
    node.run(system.rmdir(root, b"one", 1))
    node.run(system.sync())  # what was freed may be used again
    two = node.run(system.mkdir(root, b"two", 0o700, 0, 0, 1))
    assert number_of(two.inode) == number_of(one.inode)
    node.run(system.create(two.inode, b"inside", 0o600, 0, 0, 1))
    node.run(system.unmount())
    clean(node)


def test_what_is_made_in_a_directory_with_setgid_is_its_groups() -> None:
    node, system = fresh()
    shared = node.run(system.mkdir(system.root, b"shared", 0o2770, 1, 50, 1)).inode
    file = node.run(system.create(shared, b"file", 0o640, 2, 60, 1))
    assert (file.uid, file.gid, file.mode & 0o7777) == (2, 50, 0o640)
    below = node.run(system.mkdir(shared, b"below", 0o750, 2, 60, 1))
    assert (below.uid, below.gid, below.mode & 0o7777) == (2, 50, 0o2750)
    plain = node.run(system.mkdir(system.root, b"plain", 0o750, 2, 60, 1))
    assert (plain.gid, plain.mode & 0o7777) == (60, 0o750)


def test_bytes_are_appended_in_one_piece_wherever_the_end_is_by_then() -> None:
    node, system = fresh()
    file = node.run(system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    pieces = [bytes([65 + place]) * size for place, size in enumerate((1, 5000, 4096, 1 << 20, 7, 300_000))]
    ended: list[int] = []
    for piece in pieces:  # all under way at once
        node.engine.start(system.append(file, piece, 2), lambda outcome: ended.append(outcome.get()))
    node.settle()
    assert ended == [len(piece) for piece in pieces]
    assert node.run(system.read(file, 0, 1 << 21)) == b"".join(pieces)
    assert node.run(system.append(file, bytes((1 << 20) + 1), 3)) == 1 << 20


def test_what_is_appended_to_a_full_disk_is_a_part_in_one_piece() -> None:
    node, system = fresh(200)
    file = node.run(system.create(system.root, b"file", 0o600, 0, 0, 1)).inode
    free = node.run(system.statfs()).free
    wrote = node.run(system.append(file, b"x" * (free + 20) * 4096, 2))
    assert free // 4 * 4096 <= wrote <= free * 4096
    assert node.run(system.getattr(file)).size == wrote
    while True:
        try:
            wrote += node.run(system.append(file, b"y" * 4096, 3))
        except FsError as why:
            assert why.errno == errno.ENOSPC  # noqa: PT017
            break
    assert node.run(system.getattr(file)).size == wrote
    node.run(system.unmount())
    clean(node, 200)
