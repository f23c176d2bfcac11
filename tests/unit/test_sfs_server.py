"""The server of the mount's requests, on a file system of one node and a disk in memory."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Any

import pytest

from guestd.dlm.modes import Mode
from guestd.sfs import answers as say
from guestd.sfs import requests as ask
from guestd.sfs.filesystem import FileSystem
from guestd.sfs.inode import number_of
from guestd.sfs.keys import INODE
from guestd.sfs.requests import LAST_BYTE, ROOT_INODE, FileRequest, LockKind, Request
from guestd.sfs.server import FileServer
from guestd.sfs.service import SERVICES
from guestd.tasks.steps import Signal
from tests.unit.sfs_disk import CachedDisk
from tests.unit.sfs_node import SoloNode, check, formatted

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

BLOCKS = 1500
NOW = 1_800_000_000_123_456_789
NONE, SHARED, EXCLUSIVE = LockKind.NONE, LockKind.SHARED, LockKind.EXCLUSIVE


class Bench:
    """A node, its file system, and a mount's place taken by the test."""

    def __init__(self) -> None:
        _, sectors = formatted(BLOCKS)
        self.node = SoloNode(CachedDisk(sectors), BLOCKS)
        self.system: FileSystem | None = self.node.mount()
        self.answers: dict[int, say.Reply] = {}
        self.forgotten: list[int] = []
        self.faults: list[str] = []
        self.server = FileServer(self.node.engine.start, lambda: self.system, self.take, self.faults.append)
        self.number = 0

    def take(self, answer: say.FileAnswer | say.FileChanged) -> None:
        if isinstance(answer, say.FileChanged):
            self.forgotten.append(answer.inode)
            return
        assert answer.number not in self.answers, "answered twice"
        self.answers[answer.number] = answer.reply

    def give(self, request: Request) -> int:
        """It is under way, with that number."""
        self.number += 1
        self.server.handle(FileRequest(self.number, NOW + self.number, request))
        return self.number

    def tell(self, request: Request) -> None:
        """What no answer is due to."""
        self.server.handle(FileRequest(ask.NO_ANSWER, NOW, request))
        self.node.settle()

    def ask(self, request: Request) -> Any:
        number = self.give(request)
        self.node.settle()
        return self.answers.pop(number)

    def errno(self, request: Request) -> int:
        reply = self.ask(request)
        assert isinstance(reply, say.Failed), reply
        return reply.errno

    def file(self, name: bytes = b"file", directory: int = ROOT_INODE) -> tuple[int, int]:
        """A new file: inode and handle."""
        made = self.ask(create(name, directory))
        assert isinstance(made, say.Created), made
        return made.entry.attributes.inode, made.handle

    def lock(self, inode: int, handle: int, owner: int, kind: LockKind, first: int = 0, last: int = 9) -> Any:
        """Without waiting; the reply."""
        return self.ask(ask.LockRange(inode, handle, owner, 100 + owner, first, last, kind, False))

    def mounted(self) -> FileSystem:
        assert self.system is not None
        return self.system

    def finish(self) -> None:
        """Nothing is open or locked, the image is sound, nothing was a fault."""
        assert self.server.open_count == 0
        self.node.run(self.mounted().unmount())
        report = check(self.node.disk.now, BLOCKS)
        assert (report.wrong, report.notes, self.faults, self.answers) == ([], [], [], {})


def create(name: bytes, directory: int = ROOT_INODE, *, exclusive: bool = False, truncate: bool = False) -> ask.Create:
    return ask.Create(directory, name, 0o640, 5, 6, True, exclusive, truncate)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- every request


def test_each_kind_of_request_is_served() -> None:
    of_themselves = {ask.Forget, ask.Interrupt, ask.Unmounted}
    known = {kind for kind in vars(ask).values() if isinstance(kind, type) and issubclass(kind, Request)}
    assert set(SERVICES) == known - of_themselves - {Request}


def test_names(bench: Bench) -> None:
    root = bench.ask(ask.GetAttributes(ROOT_INODE))
    assert (root.inode, stat.S_IFMT(root.mode), root.links) == (ROOT_INODE, stat.S_IFDIR, 2)
    made = bench.ask(ask.MakeDirectory(ROOT_INODE, b"directory", 0o750, 1, 2))
    directory = made.attributes.inode
    assert (made.attributes.mode, made.attributes.uid, made.attributes.gid) == (stat.S_IFDIR | 0o750, 1, 2)
    assert made.generation != 0
    assert bench.ask(ask.Lookup(ROOT_INODE, b"directory")) == made
    assert bench.ask(ask.Lookup(directory, b"..")).attributes.inode == ROOT_INODE
    node = bench.ask(ask.MakeNode(directory, b"null", stat.S_IFCHR | 0o600, 0, 0, 0x103)).attributes
    assert (node.mode, node.device, node.modify_ns) == (stat.S_IFCHR | 0o600, 0x103, NOW + bench.number)
    assert bench.ask(ask.MakeNode(directory, b"pipe", stat.S_IFIFO | 0o600, 0, 0, 0)).attributes.links == 1
    link = bench.ask(ask.SymbolicLink(ROOT_INODE, b"link", 1, 2, b"some/where")).attributes
    assert (link.mode, link.size) == (stat.S_IFLNK | 0o777, 10)
    assert bench.ask(ask.ReadLink(link.inode)) == say.Data(b"some/where")
    file, handle = bench.file()
    assert bench.ask(ask.Link(file, directory, b"again")).attributes.links == 2
    assert bench.ask(ask.Unlink(ROOT_INODE, b"file")) == say.Done()
    assert bench.ask(ask.Rename(directory, b"again", ROOT_INODE, b"moved", False, False)) == say.Done()
    assert bench.ask(ask.Lookup(ROOT_INODE, b"moved")).attributes.inode == file
    assert bench.ask(ask.Rename(ROOT_INODE, b"moved", ROOT_INODE, b"link", False, True)) == say.Done()
    assert bench.ask(ask.Lookup(ROOT_INODE, b"link")).attributes.inode == file
    bench.ask(ask.Unlink(directory, b"null"))
    bench.ask(ask.Unlink(directory, b"pipe"))
    assert bench.ask(ask.RemoveDirectory(ROOT_INODE, b"directory")) == say.Done()
    assert bench.errno(ask.Lookup(ROOT_INODE, b"directory")) == errno.ENOENT
    assert bench.errno(ask.GetAttributes(directory)) == errno.ESTALE
    assert bench.ask(ask.Release(file, handle, None)) == say.Done()
    bench.tell(ask.Forget(directory, 3))
    bench.finish()


def test_contents_and_attributes(bench: Bench) -> None:
    file, handle = bench.file()
    assert bench.ask(ask.Write(file, handle, 3, b"data", False)) == say.Written(4)
    assert bench.ask(ask.Read(file, handle, 0, 100)) == say.Data(b"\0\0\0data")
    assert bench.ask(ask.Write(file, handle, 0, b" more", True)) == say.Written(5)
    assert bench.ask(ask.Read(file, handle, 3, 100)) == say.Data(b"data more")
    assert bench.ask(ask.Synchronize(file, handle, True)) == say.Done()
    changed = bench.ask(ask.SetAttributes(file, handle, 0o4711, 7, 8, 5, 11, 12))
    assert (changed.mode & 0o7777, changed.uid, changed.gid, changed.size) == (0o4711, 7, 8, 5)
    assert (changed.access_ns, changed.modify_ns, changed.change_ns) == (11, 12, NOW + bench.number)
    assert bench.ask(ask.SetAttributes(file, None, mode=0o600)).size == 5
    assert bench.ask(ask.GetAttributes(file)).mode & 0o7777 == 0o600
    assert bench.ask(ask.Flush(file, handle, 1)) == say.Done()
    reads = bench.ask(ask.Open(file, False))
    assert bench.ask(ask.Read(file, reads.handle, 0, 2)) == say.Data(b"\0\0")
    there = bench.ask(create(b"file"))
    assert (there.entry.attributes.inode, there.entry.attributes.size) == (file, 5)
    emptied = bench.ask(create(b"file", truncate=True))
    assert (emptied.entry.attributes.inode, emptied.entry.attributes.size) == (file, 0)
    space = bench.ask(ask.FileSystemStatistics())
    assert (space.block_size, space.blocks, space.name_size_max) == (4096, BLOCKS, 255)
    assert 0 < space.blocks_free == space.inodes_free < BLOCKS
    handles = [handle, reads.handle, there.handle, emptied.handle]
    assert len(set(handles)) == 4
    for one in handles:
        assert bench.ask(ask.Release(file, one, None)) == say.Done()
    bench.finish()


def test_what_fails_says_why(bench: Bench) -> None:
    file, handle = bench.file()
    directory = bench.ask(ask.MakeDirectory(ROOT_INODE, b"directory", 0o750, 1, 2)).attributes.inode
    bench.ask(ask.SymbolicLink(ROOT_INODE, b"link", 1, 2, b"x"))
    bench.ask(ask.MakeDirectory(directory, b"below", 0o750, 1, 2))
    gone = bench.ask(ask.MakeDirectory(ROOT_INODE, b"gone", 0o750, 1, 2)).attributes.inode
    bench.ask(ask.RemoveDirectory(ROOT_INODE, b"gone"))
    whole = 0, LAST_BYTE
    for request, number in (
        (ask.Lookup(ROOT_INODE, b"nothing"), errno.ENOENT),
        (ask.Lookup(file, b"x"), errno.ENOTDIR),
        (ask.Lookup(ROOT_INODE, b"x" * 256), errno.ENAMETOOLONG),
        (ask.Lookup(gone, b"x"), errno.ESTALE),
        (create(b"file", exclusive=True), errno.EEXIST),
        (create(b"directory"), errno.EISDIR),
        (create(b"link"), errno.ESTALE),  # the kernel looks again
        (create(b"new", gone), errno.ESTALE),
        (ask.MakeNode(ROOT_INODE, b"file", stat.S_IFIFO | 0o600, 0, 0, 0), errno.EEXIST),
        (ask.MakeDirectory(file, b"x", 0o700, 0, 0), errno.ENOTDIR),
        (ask.SymbolicLink(ROOT_INODE, b"x", 0, 0, b""), errno.ENOENT),
        (ask.ReadLink(file), errno.EINVAL),
        (ask.Link(directory, ROOT_INODE, b"x"), errno.EPERM),
        (ask.Unlink(ROOT_INODE, b"directory"), errno.EISDIR),
        (ask.RemoveDirectory(ROOT_INODE, b"file"), errno.ENOTDIR),
        (ask.RemoveDirectory(ROOT_INODE, b"directory"), errno.ENOTEMPTY),
        (ask.Rename(ROOT_INODE, b"file", ROOT_INODE, b"directory", False, False), errno.EISDIR),
        (ask.Rename(ROOT_INODE, b"file", ROOT_INODE, b"link", True, False), errno.EEXIST),
        (ask.Rename(ROOT_INODE, b"file", ROOT_INODE, b"x", False, True), errno.ENOENT),
        (ask.Rename(ROOT_INODE, b"directory", directory, b"x", False, False), errno.EINVAL),
        (ask.GetAttributes(gone), errno.ESTALE),
        (ask.SetAttributes(directory, None, size=1), errno.EISDIR),
        (ask.SetAttributes(file, 99, size=1), errno.EBADF),
        (ask.Open(gone, False), errno.ESTALE),
        (ask.Read(file, 99, 0, 1), errno.EBADF),
        (ask.Write(file, 99, 0, b"x", False), errno.EBADF),
        (ask.Write(file, handle, 1 << 43, b"x", False), errno.EFBIG),
        (ask.Flush(file, 99, 1), errno.EBADF),
        (ask.Release(file, 99, None), errno.EBADF),
        (ask.Synchronize(file, 99, False), errno.EBADF),
        (ask.OpenDirectory(gone), errno.ESTALE),
        (ask.ReadDirectory(file, handle, 0, 4096), errno.ENOTDIR),
        (ask.ReleaseDirectory(directory, 99), errno.EBADF),
        (ask.SynchronizeDirectory(directory, 99, False), errno.EBADF),
        (ask.LockRange(file, 99, 1, 1, *whole, SHARED, False), errno.EBADF),
        (ask.QueryRange(file, 99, 1, 1, *whole, SHARED), errno.EBADF),
        (ask.LockWhole(file, 99, 1, SHARED, False), errno.EBADF),
    ):
        assert bench.errno(request) == number, request
    bench.ask(ask.Release(file, handle, None))
    bench.finish()


def test_a_directory_is_listed_in_pieces_while_it_changes(bench: Bench) -> None:
    directory = bench.ask(ask.MakeDirectory(ROOT_INODE, b"directory", 0o750, 1, 2)).attributes.inode
    names = [b"%03d" % place + b"x" * place for place in range(100)]
    for name in names:
        bench.ask(ask.MakeNode(directory, name, stat.S_IFIFO | 0o600, 0, 0, 0))
    handle = bench.ask(ask.OpenDirectory(directory)).handle
    seen: list[say.DirectoryEntry] = []
    while found := bench.ask(ask.ReadDirectory(directory, handle, seen[-1].position if seen else 0, 300)).entries:
        assert sum(24 + (len(entry.name) + 7) // 8 * 8 for entry in found) <= 300
        seen += found
        if found[-1].name in names:
            bench.ask(ask.Unlink(directory, found[-1].name))
    assert [entry.name for entry in seen[:2]] == [b".", b".."]
    assert [entry.inode for entry in seen[:2]] == [directory, ROOT_INODE]
    assert sorted(entry.name for entry in seen[2:]) == names
    assert {stat.S_IFMT(entry.mode) for entry in seen[2:]} == {stat.S_IFIFO}
    left = bench.ask(ask.ReadDirectory(directory, handle, 0, 1 << 20)).entries
    assert 2 < len(left) < len(seen)
    middle = left[5]
    again = bench.ask(ask.ReadDirectory(directory, handle, middle.position, 1 << 20)).entries
    assert again == left[6:]
    assert bench.ask(ask.SynchronizeDirectory(directory, handle, False)) == say.Done()
    assert bench.ask(ask.ReleaseDirectory(directory, handle)) == say.Done()
    bench.finish()


def test_the_root_directory_lists_itself_by_the_number_that_the_mount_has_for_it(bench: Bench) -> None:
    handle = bench.ask(ask.OpenDirectory(ROOT_INODE)).handle
    found = bench.ask(ask.ReadDirectory(ROOT_INODE, handle, 0, 4096)).entries
    assert [(entry.name, entry.inode) for entry in found] == [(b".", ROOT_INODE), (b"..", ROOT_INODE)]
    bench.ask(ask.ReleaseDirectory(ROOT_INODE, handle))
    bench.finish()


def test_an_inode_in_the_block_of_another_has_another_number_and_generation(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []
    for _ in range(5):
        made = bench.ask(ask.MakeNode(ROOT_INODE, b"pipe", stat.S_IFIFO | 0o600, 0, 0, 0))
        seen.append((made.attributes.inode, made.generation))
        bench.ask(ask.Unlink(ROOT_INODE, b"pipe"))
        bench.server.synchronize()
        bench.node.settle()
        bench.server.synchronize()
        bench.node.settle()
        assert bench.errno(ask.GetAttributes(made.attributes.inode)) == errno.ESTALE
    assert len({number_of(inode) for inode, _ in seen}) < 5  # else this shows nothing
    assert len({inode for inode, _ in seen}) == len({generation for _, generation in seen}) == 5
    bench.finish()


def test_a_file_that_is_open_lives_without_a_name_until_its_last_handle_ends(bench: Bench) -> None:
    before = bench.ask(ask.FileSystemStatistics()).blocks_free
    file, one = bench.file()
    two = bench.ask(ask.Open(file, False)).handle
    bench.ask(ask.Write(file, one, 0, b"x" * 9000, False))
    bench.ask(ask.Unlink(ROOT_INODE, b"file"))
    bench.tell(ask.Forget(file, 1))
    bench.ask(ask.Release(file, one, None))
    assert bench.ask(ask.GetAttributes(file)).links == 0
    assert bench.ask(ask.Read(file, two, 8998, 10)) == say.Data(b"xx")
    bench.ask(ask.Release(file, two, None))
    assert bench.errno(ask.GetAttributes(file)) == errno.ESTALE
    assert bench.ask(ask.FileSystemStatistics()).blocks_free >= before - 1  # the root directory has a block now
    bench.finish()


def test_a_durable_write_and_synchronize_wait_for_the_medium(bench: Bench) -> None:
    file, handle = bench.file()
    journal = bench.mounted().journal
    bench.ask(ask.Write(file, handle, 0, b"x" * 5000, False))
    assert (journal.commits, journal.dirty.count) == (0, 2)
    bench.ask(ask.Write(file, handle, 0, b"y", False, durable=True))
    assert (journal.commits, journal.dirty.count) == (1, 0)
    bench.ask(ask.Write(file, handle, 0, b"z", True))
    bench.ask(ask.Synchronize(file, handle, False))
    assert (journal.commits, journal.dirty.count) == (2, 0)
    bench.ask(ask.Write(file, handle, 0, b"z", True))
    bench.server.synchronize()
    bench.node.settle()
    assert (journal.commits, journal.dirty.count) == (3, 0)
    bench.ask(ask.Release(file, handle, None))
    bench.finish()


# -- order


def busy(bench: Bench, inode: int) -> Signal:
    """Another operation has the inode, until that signal is fired."""
    until = Signal()
    guards = bench.mounted()._place.guards

    def task() -> Task[None]:
        guard = yield from guards.take((INODE, number_of(inode)), Mode.PR)
        yield until
        guards.give(guard)

    bench.node.engine.start(task())
    bench.node.settle()
    return until


def test_writes_through_one_handle_keep_their_order_also_when_one_is_several_calls(bench: Bench) -> None:
    file, handle = bench.file()
    until = busy(bench, file)
    long = bench.give(ask.Write(file, handle, 100, b"a" * (1 << 20), False))  # not on a block's edge: two calls
    short = bench.give(ask.Write(file, handle, 1 << 20, b"b" * 50, False))
    until.fire()
    bench.node.settle()
    assert (bench.answers.pop(long), bench.answers.pop(short)) == (say.Written(1 << 20), say.Written(50))
    assert bench.ask(ask.Read(file, handle, (1 << 20) - 1, 100)) == say.Data(b"a" + b"b" * 50 + b"a" * 49)
    bench.ask(ask.Release(file, handle, None))
    bench.finish()


def test_a_release_that_ends_a_lock_takes_effect_before_the_next_lock(bench: Bench) -> None:
    file, one = bench.file()
    two = bench.ask(ask.Open(file, True)).handle
    assert bench.ask(ask.LockWhole(file, one, 1, EXCLUSIVE, False)) == say.Done()
    assert bench.errno(ask.LockWhole(file, two, 2, SHARED, False)) == errno.EAGAIN
    until = busy(bench, file)
    release = bench.give(ask.Release(file, one, 1))
    lock = bench.give(ask.LockWhole(file, two, 2, EXCLUSIVE, False))
    bench.node.settle()
    assert not bench.answers
    until.fire()
    bench.node.settle()
    assert (bench.answers.pop(release), bench.answers.pop(lock)) == (say.Done(), say.Done())
    bench.ask(ask.Release(file, two, 2))
    bench.finish()


# -- locks


def test_ranges_of_bytes(bench: Bench) -> None:
    file, handle = bench.file()
    free = say.RangeHeld(NONE)
    assert bench.lock(file, handle, 1, EXCLUSIVE, 10, 19) == say.Done()
    assert bench.lock(file, handle, 2, SHARED, 0, 10) == say.Failed(errno.EAGAIN)
    assert bench.lock(file, handle, 2, SHARED, 20, LAST_BYTE) == say.Done()

    def query(owner: int, first: int, last: int, kind: LockKind) -> say.Reply:
        found: say.Reply = bench.ask(ask.QueryRange(file, handle, owner, 1, first, last, kind))
        return found

    assert query(2, 0, 10, SHARED) == say.RangeHeld(EXCLUSIVE, 10, 19, 101)
    assert query(1, 0, LAST_BYTE, EXCLUSIVE) == say.RangeHeld(SHARED, 20, LAST_BYTE, 102)
    assert query(1, 0, LAST_BYTE, SHARED) == query(3, 0, 9, EXCLUSIVE) == free
    assert bench.lock(file, handle, 1, NONE, 10, 12) == say.Done()
    assert query(3, 0, LAST_BYTE, EXCLUSIVE) == say.RangeHeld(EXCLUSIVE, 13, 19, 101)
    assert bench.ask(ask.Flush(file, handle, 1)) == say.Done()
    assert query(3, 0, 19, EXCLUSIVE) == free
    assert bench.lock(file, handle, 2, NONE, 0, LAST_BYTE) == bench.lock(file, handle, 7, NONE) == say.Done()
    assert query(3, 0, LAST_BYTE, EXCLUSIVE) == free
    bench.ask(ask.Release(file, handle, None))
    bench.finish()


def test_who_waits_gets_the_lock_in_his_turn(bench: Bench) -> None:
    file, handle = bench.file()
    assert bench.ask(ask.LockWhole(file, handle, 1, EXCLUSIVE, True)) == say.Done()
    waits = bench.give(ask.LockWhole(file, handle, 2, SHARED, True))
    bench.node.settle()
    assert not bench.answers
    assert bench.ask(ask.LockWhole(file, handle, 1, NONE, True)) == say.Done()
    assert bench.answers.pop(waits) == say.Done()
    bench.tell(ask.Interrupt(waits))  # too late, and nobody's
    bench.tell(ask.Interrupt(4711))
    assert bench.errno(ask.LockWhole(file, handle, 1, EXCLUSIVE, False)) == errno.EAGAIN
    bench.ask(ask.Release(file, handle, 2))
    bench.finish()


@pytest.mark.parametrize("whole", [True, False])
def test_an_interrupt_ends_one_waiting_and_no_other(bench: Bench, whole: bool) -> None:
    file, handle = bench.file()

    def wanted(owner: int, kind: LockKind = EXCLUSIVE, first: int = 0) -> Request:
        if whole:
            return ask.LockWhole(file, handle, owner, kind, True)
        return ask.LockRange(file, handle, owner, 1, first, first, kind, True)

    assert bench.ask(wanted(1)) == say.Done()
    one, other, behind, fourth = (bench.give(wanted(owner)) for owner in (2, 3, 2, 2))
    bench.node.settle()
    assert not bench.answers
    bench.tell(ask.Interrupt(behind))  # it waits for its own owner's other call
    assert bench.answers == {behind: say.Failed(errno.EINTR)}
    bench.tell(ask.Interrupt(one))
    assert bench.answers == {behind: say.Failed(errno.EINTR), one: say.Failed(errno.EINTR)}
    bench.ask(wanted(1, NONE))
    assert bench.answers.pop(other) == say.Done()
    assert fourth not in bench.answers
    bench.ask(wanted(3, NONE))
    assert bench.answers.pop(fourth) == say.Done()
    bench.answers.clear()
    bench.ask(wanted(2, NONE))
    bench.ask(ask.Release(file, handle, None))
    bench.finish()


def test_an_interrupt_that_comes_before_the_waiting_begins_is_not_forgotten(bench: Bench) -> None:
    file, handle = bench.file()
    assert bench.lock(file, handle, 1, EXCLUSIVE) == say.Done()
    until = busy(bench, file)
    range_ = bench.give(ask.LockRange(file, handle, 2, 1, 0, 0, EXCLUSIVE, True))
    whole = bench.give(ask.LockWhole(file, handle, 2, EXCLUSIVE, True))
    for number in (range_, whole):
        bench.tell(ask.Interrupt(number))
    assert not bench.answers
    until.fire()
    bench.node.settle()
    assert [bench.answers.pop(number) for number in (range_, whole)] == [say.Failed(errno.EINTR)] * 2
    assert bench.ask(ask.LockWhole(file, handle, 3, EXCLUSIVE, False)) == say.Done()
    bench.ask(ask.LockWhole(file, handle, 3, NONE, False))
    bench.ask(ask.Flush(file, handle, 1))
    bench.ask(ask.Release(file, handle, None))
    bench.finish()


# -- without a file system, and the end of a mount


def one_of_each(file: int, handle: int, directory: int) -> list[Request]:
    """A request of each kind."""
    return [
        ask.Lookup(ROOT_INODE, b"file"),
        create(b"file"),
        ask.MakeNode(ROOT_INODE, b"x", stat.S_IFIFO | 0o600, 0, 0, 0),
        ask.MakeDirectory(ROOT_INODE, b"x", 0o700, 0, 0),
        ask.SymbolicLink(ROOT_INODE, b"x", 0, 0, b"x"),
        ask.ReadLink(file),
        ask.Link(file, ROOT_INODE, b"x"),
        ask.Unlink(ROOT_INODE, b"file"),
        ask.RemoveDirectory(ROOT_INODE, b"x"),
        ask.Rename(ROOT_INODE, b"file", ROOT_INODE, b"x", False, False),
        ask.GetAttributes(file),
        ask.SetAttributes(file, handle, mode=1),
        ask.FileSystemStatistics(),
        ask.Open(file, True),
        ask.Read(file, handle, 0, 10),
        ask.Write(file, handle, 0, b"x", False),
        ask.Write(file, handle, 0, b"x", True),
        ask.Synchronize(file, handle, False),
        ask.OpenDirectory(ROOT_INODE),
        ask.ReadDirectory(ROOT_INODE, directory, 0, 4096),
        ask.SynchronizeDirectory(ROOT_INODE, directory, False),
        ask.LockRange(file, handle, 1, 1, 0, 9, EXCLUSIVE, True),
        ask.QueryRange(file, handle, 1, 1, 0, 9, EXCLUSIVE),
        ask.LockWhole(file, handle, 1, EXCLUSIVE, True),
        ask.Flush(file, handle, 2),
        ask.Release(file, handle, 2),
        ask.ReleaseDirectory(ROOT_INODE, directory),
    ]


@pytest.mark.parametrize("how", ["never mounted", "leaves", "left", "failed"])
def test_without_a_file_system_every_request_is_answered(bench: Bench, how: str) -> None:
    file, handle = bench.file()
    directory = bench.ask(ask.OpenDirectory(ROOT_INODE)).handle
    bench.lock(file, handle, 2, EXCLUSIVE)
    bench.ask(ask.LockWhole(file, handle, 2, EXCLUSIVE, False))
    due = errno.ENODEV
    waits = bench.give(ask.LockWhole(file, handle, 3, EXCLUSIVE, True))
    if how == "failed":
        bench.mounted().fail("for the test")
        due = errno.EIO
        bench.tell(ask.Interrupt(waits))
        assert bench.answers.pop(waits) == say.Failed(errno.EINTR)
    elif how == "never mounted":
        bench = Bench()
        bench.system = None
    else:
        bench.node.run(bench.mounted().unmount())
        assert bench.answers.pop(waits) == say.Failed(errno.ENODEV)
        bench.system = bench.system if how == "leaves" else None
    requests = one_of_each(file, handle, directory)
    assert {type(request) for request in requests} == set(SERVICES)
    for request in requests:
        assert bench.errno(request) == due, request
    assert (bench.faults, bench.server.running, bench.server.open_count) == ([], 0, 0)


def test_handles_end_with_their_file_system_and_another_one_can_be_used(bench: Bench) -> None:
    file, handle = bench.file()
    bench.ask(ask.Write(file, handle, 0, b"data", False))
    bench.node.run(bench.mounted().unmount())
    bench.system = bench.node.mount(2)
    assert bench.errno(ask.Read(file, handle, 0, 10)) == errno.EIO
    again = bench.ask(ask.Open(file, True)).handle
    assert again != handle
    assert bench.errno(ask.Release(file, handle, None)) == errno.EBADF
    bench.ask(ask.Unlink(ROOT_INODE, b"file"))
    assert bench.ask(ask.Read(file, again, 0, 10)) == say.Data(b"data")  # the other release has not ended this one
    bench.ask(ask.Release(file, again, None))
    bench.finish()


def test_a_fault_is_an_error_of_the_program_and_told_with_its_place(bench: Bench) -> None:
    wrong: Any = "no name"
    assert bench.errno(ask.Lookup(ROOT_INODE, wrong)) == errno.EIO
    assert len(bench.faults) == 1
    assert bench.faults[0].startswith("Lookup: TypeError: ")
    assert "guestd/sfs/" in bench.faults[0]
    bench.faults.clear()
    assert bench.ask(ask.GetAttributes(ROOT_INODE)).inode == ROOT_INODE
    bench.finish()


def test_a_broken_disk_is_an_error_of_the_program_and_no_fault(bench: Bench) -> None:
    file, handle = bench.file()
    bench.ask(ask.Write(file, handle, 0, b"data", False))
    bench.node.broken = set(range(8 * BLOCKS))
    assert bench.errno(ask.Synchronize(file, handle, False)) == errno.EIO
    assert bench.errno(ask.GetAttributes(file)) == errno.EIO
    bench.server.synchronize()
    bench.node.settle()
    assert bench.faults == []


def test_with_the_mount_all_ends_that_came_through_it(bench: Bench) -> None:
    free = bench.ask(ask.FileSystemStatistics()).blocks_free
    file, handle = bench.file()
    bench.ask(ask.OpenDirectory(ROOT_INODE))
    bench.ask(ask.Write(file, handle, 0, b"x" * 9000, False))
    assert bench.lock(file, handle, 1, EXCLUSIVE) == say.Done()
    assert bench.ask(ask.LockWhole(file, handle, 1, EXCLUSIVE, False)) == say.Done()
    other, second = bench.file(b"other")
    assert bench.ask(ask.LockWhole(other, second, 1, EXCLUSIVE, False)) == say.Done()
    until = busy(bench, other)
    bench.give(ask.LockWhole(file, handle, 2, EXCLUSIVE, True))
    bench.give(ask.Read(other, second, 0, 10))  # under way when the mount goes
    bench.give(ask.Open(other, True))
    bench.ask(ask.Unlink(ROOT_INODE, b"file"))
    bench.tell(ask.Unmounted())
    assert (bench.answers, bench.server.open_count) == ({}, 0)
    bench.number = 0  # the next mount counts anew, and nobody else's answers reach it
    opened = bench.give(ask.OpenDirectory(ROOT_INODE))
    bench.node.settle()
    assert isinstance(bench.answers.pop(opened), say.Opened)
    until.fire()
    bench.node.settle()
    assert bench.answers == {}
    assert bench.errno(ask.GetAttributes(file)) == errno.ESTALE
    assert bench.ask(ask.FileSystemStatistics()).blocks_free >= free - 2  # other, and a block of names
    handle = bench.ask(ask.Open(other, True)).handle
    assert bench.ask(ask.LockWhole(other, handle, 1, EXCLUSIVE, False)) == say.Done()
    bench.tell(ask.Unmounted())
    bench.finish()


def test_locks_of_the_next_mount_come_after_the_end_of_those_of_the_last(bench: Bench) -> None:
    """Also of an owner with the same number: what is ended is the earlier one's."""
    file, handle = bench.file()
    assert bench.ask(ask.LockWhole(file, handle, 1, EXCLUSIVE, False)) == say.Done()
    other, second = bench.file(b"other")
    until = busy(bench, other)
    bench.give(ask.Read(other, second, 0, 10))
    bench.tell(ask.Unmounted())
    handle = bench.ask(ask.Open(file, True)).handle
    lock = bench.give(ask.LockWhole(file, handle, 1, EXCLUSIVE, False))
    bench.node.settle()
    assert bench.answers == {}
    until.fire()
    bench.node.settle()
    assert bench.answers.pop(lock) == say.Done()
    assert bench.errno(ask.LockWhole(file, handle, 2, EXCLUSIVE, False)) == errno.EAGAIN
    bench.ask(ask.Release(file, handle, 1))
    bench.finish()
